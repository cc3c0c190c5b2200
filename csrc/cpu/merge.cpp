// Two halves become one list of edges with their whole factors: what a fixed graph is read by, step after step.
#include <tuple>

#include "ops.h"

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

// (rowptr, col, value) of two halves with int32 columns; weights and scales are of the type of `value`.
std::tuple<Tensor, Tensor, Tensor> merge_signs(Tensor pos_rowptr, Tensor pos_col, MaybeTensor pos_weight,
                                               MaybeTensor pos_row_scale, MaybeTensor pos_col_scale, Tensor neg_rowptr,
                                               Tensor neg_col, MaybeTensor neg_weight, MaybeTensor neg_row_scale,
                                               MaybeTensor neg_col_scale, double p, double q, bool float64) {
  Half pos = half_of(pos_rowptr, pos_col, pos_weight, pos_row_scale, pos_col_scale, {}, {}, pos_col);
  Half neg = half_of(neg_rowptr, neg_col, neg_weight, neg_row_scale, neg_col_scale, {}, {}, neg_col);
  pos.coef = p;
  neg.coef = q;
  const int64_t num_rows = pos_rowptr.numel() - 1, num_edges = pos.num_edges + neg.num_edges;
  Tensor rowptr = torch::stable::new_empty(pos_rowptr, {2 * num_rows + 1});
  Tensor col = torch::stable::new_empty(pos_col, {num_edges});
  Tensor value = torch::stable::new_empty(pos_col, {num_edges}, float64 ? ScalarType::Double : ScalarType::Float);
  const Merged out{static_cast<int64_t*>(rowptr.mutable_data_ptr()), static_cast<int32_t*>(col.mutable_data_ptr())};
  if (float64)
    merge_rows(pos, neg, num_rows, out, static_cast<double*>(value.mutable_data_ptr()));
  else
    merge_rows(pos, neg, num_rows, out, static_cast<float*>(value.mutable_data_ptr()));
  return {rowptr, col, value};
}

}  // namespace
}  // namespace sbp

STABLE_TORCH_LIBRARY_IMPL(sbp, CPU, m) { m.impl("merge_signs", TORCH_BOX(&sbp::merge_signs)); }
