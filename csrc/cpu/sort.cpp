// Stable counting sorts: from edges to compressed rows, and from rows to columns. O(edges + nodes).
#include <cstdint>
#include <tuple>
#include <vector>

#include "parallel.h"

namespace sbp {
namespace {

// Where each bucket starts, given the keys: offsets[k] to offsets[k + 1].
template <class Key> void count(const Key* key, int64_t n, int64_t* offsets, int64_t num_buckets) {
  std::fill(offsets, offsets + num_buckets + 1, int64_t(0));
  for (int64_t i = 0; i < n; ++i) ++offsets[int64_t(key[i]) + 1];
  for (int64_t k = 0; k < num_buckets; ++k) offsets[k + 1] += offsets[k];
}

// Call place(position, i) for every i in order, where positions are grouped by key, stably.
template <class Key, class Place>
void scatter(const Key* key, int64_t n, std::vector<int64_t> next, const Place& place) {
  for (int64_t i = 0; i < n; ++i) place(next[int64_t(key[i])]++, i);
}

ScalarType index_type(int64_t num_cols) { return num_cols <= INT32_MAX ? ScalarType::Int : ScalarType::Long; }

// Sort by column first; a second stable sort by row then leaves columns ascending in each row.
template <class I> void sort_edges(const int64_t* row, const int64_t* col, int64_t n, int64_t num_rows,
                                   int64_t num_cols, int64_t* rowptr, I* col_out, int64_t* order) {
  struct Edge {
    int64_t row, index;
    I col;
  };
  std::vector<Edge> by_col(static_cast<size_t>(n));
  std::vector<int64_t> offsets(static_cast<size_t>(num_cols) + 1);
  count(col, n, offsets.data(), num_cols);
  scatter(col, n, std::move(offsets), [&](int64_t to, int64_t i) { by_col[size_t(to)] = {row[i], i, I(col[i])}; });
  count(row, n, rowptr, num_rows);
  std::vector<int64_t> next(rowptr, rowptr + num_rows + 1);
  for (const Edge& edge : by_col) {
    const int64_t to = next[size_t(edge.row)]++;
    col_out[to] = edge.col;
    order[to] = edge.index;
  }
}

std::tuple<Tensor, Tensor, Tensor> coo_to_csr(Tensor row, Tensor col, int64_t num_rows, int64_t num_cols) {
  const int64_t n = row.numel();
  Tensor rowptr = torch::stable::new_empty(row, {num_rows + 1}, ScalarType::Long);
  Tensor col_out = torch::stable::new_empty(row, {n}, index_type(num_cols));
  Tensor order = torch::stable::new_empty(row, {n}, ScalarType::Long);
  const auto run = [&](auto* out) {
    sort_edges(static_cast<const int64_t*>(row.const_data_ptr()), static_cast<const int64_t*>(col.const_data_ptr()), n,
               num_rows, num_cols, static_cast<int64_t*>(rowptr.mutable_data_ptr()), out,
               static_cast<int64_t*>(order.mutable_data_ptr()));
  };
  if (index_type(num_cols) == ScalarType::Int)
    run(static_cast<int32_t*>(col_out.mutable_data_ptr()));
  else
    run(static_cast<int64_t*>(col_out.mutable_data_ptr()));
  return {rowptr, col_out, order};
}

// Rows come in order, so one stable sort by column suffices.
template <class I, class O> void flip(const int64_t* rowptr, const I* col, int64_t num_rows, int64_t num_cols,
                                      int64_t* colptr, O* row_out, int64_t* order) {
  count(col, rowptr[num_rows], colptr, num_cols);
  std::vector<int64_t> next(colptr, colptr + num_cols + 1);
  for (int64_t row = 0; row < num_rows; ++row) {
    for (int64_t e = rowptr[row]; e < rowptr[row + 1]; ++e) {
      const int64_t to = next[size_t(col[e])]++;
      row_out[to] = O(row);
      order[to] = e;
    }
  }
}

std::tuple<Tensor, Tensor, Tensor> csr_transpose(Tensor rowptr, Tensor col, int64_t num_cols) {
  const int64_t num_rows = rowptr.numel() - 1;
  // Keep the width of the columns where it suffices, so that a symmetric matrix is seen as such.
  const bool wide = col.scalar_type() == ScalarType::Long || index_type(num_rows) == ScalarType::Long;
  Tensor colptr = torch::stable::new_empty(rowptr, {num_cols + 1}, ScalarType::Long);
  Tensor row_out = torch::stable::new_empty(rowptr, {col.numel()}, wide ? ScalarType::Long : ScalarType::Int);
  Tensor order = torch::stable::new_empty(rowptr, {col.numel()}, ScalarType::Long);
  const auto run = [&](const auto* from, auto* to) {
    flip(static_cast<const int64_t*>(rowptr.const_data_ptr()), from, num_rows, num_cols,
         static_cast<int64_t*>(colptr.mutable_data_ptr()), to, static_cast<int64_t*>(order.mutable_data_ptr()));
  };
  const void* from = col.const_data_ptr();
  void* to = row_out.mutable_data_ptr();
  if (col.scalar_type() == ScalarType::Long)
    run(static_cast<const int64_t*>(from), static_cast<int64_t*>(to));
  else if (wide)
    run(static_cast<const int32_t*>(from), static_cast<int64_t*>(to));
  else
    run(static_cast<const int32_t*>(from), static_cast<int32_t*>(to));
  return {colptr, row_out, order};
}

}  // namespace
}  // namespace sbp

STABLE_TORCH_LIBRARY_IMPL(sbp, CPU, m) {
  m.impl("coo_to_csr", TORCH_BOX(&sbp::coo_to_csr));
  m.impl("csr_transpose", TORCH_BOX(&sbp::csr_transpose));
}
