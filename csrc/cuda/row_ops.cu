// The CUDA implementations of the ops: they check the arguments, allocate the results and launch the kernels. No op
// copies from the device or synchronises with it.
#include "edge_dot.cuh"
#include "hub_rows.cuh"
#include "group_sum.cuh"
#include "instances/row_launch.h"

namespace sbp::device {
namespace {

Tensor signed_spmm(OpStack& stack) {
  const SpmmArgs in = take_spmm(stack);
  const DegreeBinArgs bin_args = take_degree_bins(stack);
  Arguments args("signed_spmm", stack.flag());
  const Context context(in.x);
  const Tensor& x = in.x;
  const Operands all = read_operands(args, in);
  const Coefficients coefs(args, in.coef, in.r, in.p, in.q);
  const DegreeBins bins = read_degree_bins(args, bin_args, in.num_rows);
  Tensor y = new_matrix(x, in.num_rows, all.x.width, x.scalar_type());
  by_type(args.type(), [&](auto type) {
    using S = decltype(type);
    RowPassParams<Acc<S>> params = row_pass_params<Acc<S>>(all, coefs, bins);
    params.y = y.mutable_data_ptr();
    const MaybeTensor partial = new_partial(x, params, 1);
    run_rows<S>(context, params, RowOp::kSpmm, args.int64_columns());
  });
  return y;
}

std::tuple<Tensor, Tensor> signed_spmm_norm(OpStack& stack) {
  const SpmmArgs in = take_spmm(stack);
  const double eps = stack.number();
  const DegreeBinArgs bin_args = take_degree_bins(stack);
  Arguments args("signed_spmm_norm", stack.flag());
  const Context context(in.x);
  const Tensor& x = in.x;
  const int64_t num_rows = in.num_rows;
  const Operands all = read_operands(args, in);
  const Coefficients coefs(args, in.coef, in.r, in.p, in.q);
  const DegreeBins bins = read_degree_bins(args, bin_args, num_rows);
  check_eps(args, eps, false);
  Tensor y = new_matrix(x, num_rows, all.x.width, x.scalar_type());
  Tensor rstd = torch::stable::new_empty(x, {num_rows}, acc_type(args));
  by_type(args.type(), [&](auto type) {
    using S = decltype(type);
    using A = Acc<S>;
    RowPassParams<A> params = row_pass_params<A>(all, coefs, bins);
    params.y = y.mutable_data_ptr();
    params.rstd = static_cast<A*>(rstd.mutable_data_ptr());
    params.eps = A(eps);
    const MaybeTensor partial = new_partial(x, params, 1);
    // Hub rows, and rows that do not fit in the registers of a warp, take a second pass through memory.
    const bool fits = params.width <= norm_width<S>(params);
    const int64_t rows_in_memory = fits ? params.bins.num_hubs : num_rows;
    MaybeTensor z;
    if (rows_in_memory > 0) {
      z = new_matrix(x, rows_in_memory, params.width, acc_type(args));
      params.z = static_cast<A*>(z->mutable_data_ptr());
    }
    run_rows<S>(context, params, fits ? RowOp::kNorm : RowOp::kSpmm, args.int64_columns());
    if (!fits) run_norm<S>(context, params, num_rows, false);
  });
  return {y, rstd};
}

std::tuple<Tensor, Tensor> signed_pair(OpStack& stack) {
  const Tensor x = stack.tensor();
  const HalvesArgs halves = take_halves(stack);
  const int64_t num_rows = stack.integer();
  const DegreeBinArgs bin_args = take_degree_bins(stack);
  Arguments args("signed_pair", stack.flag());
  const Context context(x);
  const Operands all = read_operands(args, x, {}, {}, halves, num_rows);
  const DegreeBins bins = read_degree_bins(args, bin_args, num_rows);
  Tensor y = new_matrix(x, num_rows, all.x.width, x.scalar_type());
  Tensor y_neg = new_matrix(x, num_rows, all.x.width, x.scalar_type());
  by_type(args.type(), [&](auto type) {
    using S = decltype(type);
    RowPassParams<Acc<S>> params = row_pass_params<Acc<S>>(all, Coefficients(args, {}, 0.0, 1.0, 1.0), bins);
    params.y = y.mutable_data_ptr();
    params.y_neg = y_neg.mutable_data_ptr();
    const MaybeTensor partial = new_partial(x, params, 2);
    run_rows<S>(context, params, RowOp::kPair, args.int64_columns());
  });
  return {y, y_neg};
}

Tensor signed_dot(OpStack& stack) {
  const Tensor y = stack.tensor(), x = stack.tensor();
  const HalvesArgs halves = take_halves(stack);
  const MaybeTensor residual = stack.maybe_tensor();
  const DegreeBinArgs bin_args = take_degree_bins(stack);
  Arguments args("signed_dot", stack.flag());
  const Context context(y);
  Operands all;
  const Features rows = args.first("y", y);
  all.x = args.features("x", x, {"num_cols", -1}, rows.width);
  all.half[0] = read_half(args, halves.pos, all.x, rows.rows);
  all.half[1] = read_half(args, halves.neg, all.x, rows.rows);
  if (residual.has_value()) all.residual = args.features("residual", *residual, {"num_rows", rows.rows}, rows.width);
  const DegreeBins bins = read_degree_bins(args, bin_args, rows.rows);
  Tensor out = torch::stable::new_empty(x, {3}, acc_type(args));
  by_type(args.type(), [&](auto type) {
    using S = decltype(type);
    using A = Acc<S>;
    RowPassParams<A> params = row_pass_params<A>(all, Coefficients(args, {}, 1.0, 1.0, 1.0), bins);
    params.dot_with = rows.data;
    params.dot_stride = rows.stride;
    const dim3 grid = row_grid<S>(params, RowOp::kDot);
    const int64_t blocks = int64_t(grid.x) * grid.y;
    Tensor triples = new_matrix(x, blocks, 3, ScalarType::Double);
    params.dot_out = static_cast<double*>(triples.mutable_data_ptr());
    run_rows<S>(context, params, RowOp::kDot, args.int64_columns());
    context.launch("sum_triples_kernel", sum_triples_kernel<A>, dim3(1), int(sizeof(double)) * kThreads, params.width,
                   static_cast<const double*>(params.dot_out), blocks, static_cast<A*>(out.mutable_data_ptr()));
  });
  return out;
}

template <class S, class I, int kVec>
void launch_edge_dot(const Context& context, const EdgeDotParams& params, int64_t num_rows, int64_t num_edges) {
  const dim3 grid(unsigned(ceil_div(num_edges, kThreads)));
  context.launch("edge_dot_kernel", edge_dot_kernel<S, I, kVec>, grid, 0, params.width, params, num_rows, num_edges,
                 log_lanes_for(params.width, kVec));
}

Tensor edge_dot(OpStack& stack) {
  const EdgeDotArgs in = take_edge_dot(stack);
  Arguments args("edge_dot", in.trusted);
  const Context context(in.a);
  const Features rows = args.first("a", in.a), from = args.features("b", in.b, {"num_cols", -1}, rows.width);
  EdgeDotParams params;
  params.half.x = from.data;
  params.half.x_stride = from.stride;
  read_edges(args, params.half, in.half, rows.rows, from.rows);
  params.a = rows.data;
  params.a_stride = rows.stride;
  params.width = rows.width;
  Tensor out = torch::stable::new_empty(in.a, {params.half.num_edges}, acc_type(args));
  params.out = out.mutable_data_ptr();
  by_type(args.type(), [&](auto type) {
    using S = decltype(type);
    constexpr int kFull = 16 / int(sizeof(S));
    const bool full = aligned<S, kFull>(params.a, params.a_stride, params.width) &&
                      aligned<S, kFull>(params.half.x, params.half.x_stride, params.width);
    const auto run = [&](auto index) {
      using I = decltype(index);
      if (full)
        launch_edge_dot<S, I, kFull>(context, params, rows.rows, params.half.num_edges);
      else
        launch_edge_dot<S, I, 1>(context, params, rows.rows, params.half.num_edges);
    };
    if (args.int64_columns())
      run(int64_t{});
    else
      run(int32_t{});
  });
  return out;
}

// Row s of `out` is the sum of the rows of x that segment s lists. Without an order, segment s has rows segptr[s] to
// segptr[s + 1] of x.
template <class S> void launch_group_sum(const Context& context, const Features& x, const void* order,
                                         const int64_t* segptr, int64_t num_segments, Tensor& out) {
  GroupSumParams params;
  params.x = x.data;
  params.x_stride = x.stride;
  params.segptr = segptr;
  params.order = static_cast<const int32_t*>(order);
  params.out = out.mutable_data_ptr();
  params.width = x.width;
  constexpr int kFull = 16 / int(sizeof(S));
  const auto run = [&](auto* kernel, int vec) {
    const dim3 grid(unsigned(num_segments), unsigned(ceil_div(params.width, kLanes * vec)));
    context.launch("group_sum_kernel", kernel, grid, int(sizeof(Acc<S>)) * kThreads * vec, params.width, params);
  };
  if (aligned<S, kFull>(params.x, params.x_stride, params.width))
    run(group_sum_kernel<S, kFull>, kFull);
  else
    run(group_sum_kernel<S, 1>, 1);
}

Tensor group_sum(const Tensor& x, const Tensor& order, const Tensor& segptr, const Tensor& group_segptr, bool trusted) {
  const Context context(x);
  Arguments args("group_sum", trusted);
  const Features from = args.first("x", x);
  const GroupSegments groups = read_groups(args, "", order, segptr, group_segptr, from, -1);
  if (groups.int64_order) args.refuse("order must be int32 on CUDA, got " + describe(order));
  Tensor partial = new_matrix(x, groups.num_segments, from.width, acc_type(args));
  Tensor out = new_matrix(x, groups.num_groups, from.width, acc_type(args));
  const Features sums{partial.const_data_ptr(), groups.num_segments, from.width, from.width};
  by_type(args.type(), [&](auto type) {
    using S = decltype(type);
    launch_group_sum<S>(context, from, groups.listed.col, groups.listed.rowptr, groups.num_segments, partial);
    launch_group_sum<Acc<S>>(context, sums, nullptr, groups.group_segptr, groups.num_groups, out);
  });
  return out;
}

Tensor mix_groups(const Tensor& block, const Tensor& sums) {
  const Context context(sums);
  Arguments args("mix_groups", true);
  const Mixing mixing = read_mixing(args, block, sums);
  MixParams params;
  params.block = mixing.block;
  params.sums = mixing.sums;
  params.num_rows = mixing.num_rows;
  params.num_groups = mixing.num_groups;
  params.width = mixing.width;
  Tensor out = new_matrix(sums, params.num_rows, params.width, sums.scalar_type());
  params.out = out.mutable_data_ptr();
  const dim3 grid(unsigned(ceil_div(params.num_rows * params.width, kThreads)));
  if (args.acc().size == 8) {
    context.launch("mix_groups_kernel", mix_groups_kernel<double>, grid, 0, params.width, params);
  } else {
    context.launch("mix_groups_kernel", mix_groups_kernel<float>, grid, 0, params.width, params);
  }
  return out;
}

}  // namespace
}  // namespace sbp::device

SBP_CUDA_LIBRARY(m) {
  m.impl("signed_spmm", sbp::boxed<sbp::device::signed_spmm>);
  m.impl("signed_spmm_norm", sbp::boxed<sbp::device::signed_spmm_norm>);
  m.impl("signed_pair", sbp::boxed<sbp::device::signed_pair>);
  m.impl("signed_dot", sbp::boxed<sbp::device::signed_dot>);
  m.impl("edge_dot", sbp::boxed<sbp::device::edge_dot>);
  m.impl("group_sum", TORCH_BOX(&sbp::device::group_sum));
  m.impl("mix_groups", TORCH_BOX(&sbp::device::mix_groups));
}
