// The arguments of the ops in ops.cpp as structs, which take them from torch's stack in the order of the schema.
// operands.h checks them.
#pragma once

#include <torch/csrc/stable/library.h>

#include <stdexcept>
#include <string>
#include <tuple>

#include "checks.h"

namespace sbp {

// The arguments of one call of an op, each taken once, in the order of the schema. Taking an argument takes ownership
// of it, so an op takes all of its arguments before it checks the first.
class OpStack {
 public:
  explicit OpStack(StableIValue* values) : next_(values) {}
  OpStack(const OpStack&) = delete;
  Tensor tensor() { return take<Tensor>(); }
  MaybeTensor maybe_tensor() { return take<MaybeTensor>(); }
  double number() { return take<double>(); }
  int64_t integer() { return take<int64_t>(); }
  bool flag() { return take<bool>(); }
  int64_t taken_since(const StableIValue* first) const { return next_ - first; }

 private:
  template <class T> T take() { return torch::stable::detail::to<T>(*next_++); }
  StableIValue* next_;
};

inline void put_results(StableIValue* stack, const Tensor& result) { stack[0] = torch::stable::detail::from(result); }
template <class... T> void put_results(StableIValue* stack, const std::tuple<T...>& results) {
  std::apply([&](const T&... result) { ((*stack++ = torch::stable::detail::from(result)), ...); }, results);
}

// The function that torch calls for an op. Unlike TORCH_BOX, whose functions have one parameter per argument of the
// schema, `Op` takes its arguments in groups, such as the seven tensors of a half.
template <auto Op> void boxed(StableIValue* stack, uint64_t num_args, uint64_t) {
  OpStack args(stack);
  const auto results = Op(args);
  if (args.taken_since(stack) != int64_t(num_args))
    throw std::runtime_error("sbp: the schema of an op has " + std::to_string(num_args) +
                             " arguments, its code takes " + std::to_string(args.taken_since(stack)));
  put_results(stack, results);
}

// The members of these structs stand in the order of the schema, and braces take them from the stack in that order.

// One half of the graph: seven optional tensors. An absent half has none of them.
struct HalfArgs {
  const char* sign;
  MaybeTensor rowptr, col, weight, row_scale, col_scale, table, group;
};
inline HalfArgs take_half(OpStack& stack, const char* sign) {
  return {sign,
          stack.maybe_tensor(),
          stack.maybe_tensor(),
          stack.maybe_tensor(),
          stack.maybe_tensor(),
          stack.maybe_tensor(),
          stack.maybe_tensor(),
          stack.maybe_tensor()};
}
// A half that is a CSR.
inline HalfArgs take_csr(OpStack& stack, const char* sign) {
  return {sign, stack.tensor(), stack.tensor(), stack.maybe_tensor(), stack.maybe_tensor(), stack.maybe_tensor(), {},
          {}};
}

struct HalvesArgs {
  HalfArgs pos, neg;
};
inline HalvesArgs take_halves(OpStack& stack) { return {take_half(stack, "pos_"), take_half(stack, "neg_")}; }

// r R + p A+ x + q A- x_neg.
struct SpmmArgs {
  Tensor x;
  MaybeTensor x_neg, residual;
  HalvesArgs halves;
  MaybeTensor coef;
  double r, p, q;
  int64_t num_rows;
};
inline SpmmArgs take_spmm(OpStack& stack) {
  return {stack.tensor(), stack.maybe_tensor(), stack.maybe_tensor(), take_halves(stack), stack.maybe_tensor(),
          stack.number(), stack.number(),       stack.number(),       stack.integer()};
}

// The degree bins (see params.h): all five tensors or none.
struct DegreeBinArgs {
  MaybeTensor chunk, hub, block_rows, warp_rows, light_rows;
};
inline DegreeBinArgs take_degree_bins(OpStack& stack) {
  return {stack.maybe_tensor(), stack.maybe_tensor(), stack.maybe_tensor(), stack.maybe_tensor(), stack.maybe_tensor()};
}

// A class block whose table is recomputed in every step: all four tensors or none.
struct ClassBlockArgs {
  const char* sign;
  MaybeTensor order, segptr, group_segptr, block;
};
inline ClassBlockArgs take_class_block(OpStack& stack, const char* sign) {
  return {sign, stack.maybe_tensor(), stack.maybe_tensor(), stack.maybe_tensor(), stack.maybe_tensor()};
}

struct MultiStepArgs {
  SpmmArgs spmm;
  double eps;
  int64_t num_steps;
  MaybeTensor gamma;
  ClassBlockArgs pos, neg;
  bool own_residual;
  DegreeBinArgs bins;
  bool trusted;
};
inline MultiStepArgs take_multi_step(OpStack& stack) {
  return {take_spmm(stack),
          stack.number(),
          stack.integer(),
          stack.maybe_tensor(),
          take_class_block(stack, "pos_"),
          take_class_block(stack, "neg_"),
          stack.flag(),
          take_degree_bins(stack),
          stack.flag()};
}

struct EdgeDotArgs {
  Tensor a, b;
  HalfArgs half;
  bool trusted;
};
inline EdgeDotArgs take_edge_dot(OpStack& stack) {
  return {stack.tensor(),
          stack.tensor(),
          {"", stack.tensor(), stack.tensor(), {}, stack.maybe_tensor(), stack.maybe_tensor(), {}, {}},
          stack.flag()};
}

}  // namespace sbp
