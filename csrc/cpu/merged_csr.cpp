// merge_signs: build the merged CSR of a graph with fixed weights, which the row pass then reads in every step.
//
// Row 2 i has the positive edges of row i, row 2 i + 1 its negative edges. The value of an edge is the product of the
// coefficient of its sign, its weight and its scales. Threads own ranges of rows.
#include <tuple>

#include "row_ops.h"

namespace sbp {
namespace {

struct Merged {
  int64_t* rowptr;
  int32_t* col;
};

template <class A> void copy_row(const Half& half, int64_t row, int64_t to, int32_t* col, A* value) {
  const auto at = [](const void* array, int64_t i) {
    return array == nullptr ? A(1) : static_cast<const A*>(array)[i];
  };
  const A scale = at(half.row_scale, row), coef = A(half.coef);
  for (int64_t e = half.rowptr[row]; e < half.rowptr[row + 1]; ++e, ++to) {
    col[to] = static_cast<const int32_t*>(half.col)[e];
    value[to] = coef * (scale * at(half.weight, e) * at(half.col_scale, col[to]));
  }
}

template <class A> void merge_rows(const Half& pos, const Half& neg, int64_t num_rows, const Merged& out, A* value) {
  out.rowptr[0] = 0;
  parallel_rows(num_rows, RowCost{pos.rowptr, neg.rowptr, 1}, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t first = pos.rowptr[row] + neg.rowptr[row], split = pos.rowptr[row + 1] + neg.rowptr[row];
      out.rowptr[2 * row + 1] = split;
      out.rowptr[2 * row + 2] = pos.rowptr[row + 1] + neg.rowptr[row + 1];
      copy_row(pos, row, first, out.col, value);
      copy_row(neg, row, split, out.col, value);
    }
  });
}

// The number of columns is the length of a col_scale. Without one, any column >= 0 is valid.
int64_t num_cols_of(Arguments& args, const MaybeTensor& pos_scale, const MaybeTensor& neg_scale) {
  int64_t size = kMaxSize;
  if (pos_scale.has_value())
    args.vector("pos_col_scale", *pos_scale, args.acc(), {"num_cols", -1}, &size);
  else if (neg_scale.has_value())
    args.vector("neg_col_scale", *neg_scale, args.acc(), {"num_cols", -1}, &size);
  return size;
}

// The edges of one half with int32 columns. Weights and scales have the type of the merged values.
Half read_sign(Arguments& args, const HalfArgs& t, int64_t num_rows, int64_t num_cols, double coef) {
  Half half;
  read_edges(args, half, t, num_rows, num_cols);
  if (args.int64_columns()) args.refuse(Name(t.sign, "col").text() + " must be int32, got " + describe(*t.col));
  half.coef = coef;
  return half;
}

// (rowptr, col, value) of the merged CSR of two halves.
std::tuple<Tensor, Tensor, Tensor> merge_signs(OpStack& stack) {
  const HalfArgs pos_csr = take_csr(stack, "pos_"), neg_csr = take_csr(stack, "neg_");
  const double p = stack.number(), q = stack.number();
  const bool float64 = stack.flag();
  Arguments args("merge_signs", stack.flag());
  args.set_type(float64 ? Type::kFloat64 : Type::kFloat32);
  int64_t size = 0;
  args.int64s("pos_rowptr", *pos_csr.rowptr, {"num_rows+1", -1}, &size);
  if (size < 1) args.refuse("pos_rowptr must have num_rows+1 numbers, got none");
  const int64_t num_rows = size - 1, num_cols = num_cols_of(args, pos_csr.col_scale, neg_csr.col_scale);
  const Half pos = read_sign(args, pos_csr, num_rows, num_cols, p);
  const Half neg = read_sign(args, neg_csr, num_rows, num_cols, q);
  const int64_t num_edges = pos.num_edges + neg.num_edges;
  Tensor rowptr = new_vector(2 * num_rows + 1, kDtypes.int64);
  Tensor col = new_vector(num_edges, kDtypes.int32);
  Tensor value = new_vector(num_edges, args.acc());
  const Merged out{static_cast<int64_t*>(rowptr.mutable_data_ptr()), static_cast<int32_t*>(col.mutable_data_ptr())};
  if (float64)
    merge_rows(pos, neg, num_rows, out, static_cast<double*>(value.mutable_data_ptr()));
  else
    merge_rows(pos, neg, num_rows, out, static_cast<float*>(value.mutable_data_ptr()));
  return {rowptr, col, value};
}

}  // namespace
}  // namespace sbp

STABLE_TORCH_LIBRARY_IMPL(sbp, CPU, m) { m.impl("merge_signs", sbp::boxed<sbp::merge_signs>); }
