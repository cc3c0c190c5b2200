// Build a CSR from a list of edges, and transpose a CSR: stable counting sorts in O(edges + nodes), by one thread.
#include <cstdint>
#include <tuple>
#include <vector>

#include "row_ops.h"

namespace sbp {
namespace {

// Compute where each bucket begins: bucket k is offsets[k] to offsets[k + 1]. Keys are checked on every call. The check
// is one comparison next to each count; a separate pass would take a tenth of the sort.
template <class Key>
void count(const Arguments& args, const char* name, const Key* key, int64_t n, int64_t* offsets, int64_t num_buckets) {
  std::fill(offsets, offsets + num_buckets + 1, int64_t(0));
  for (int64_t i = 0; i < n; ++i) {
    if (uint64_t(int64_t(key[i])) >= uint64_t(num_buckets)) args.all_below(name, key, n, num_buckets);
    ++offsets[int64_t(key[i]) + 1];
  }
  for (int64_t k = 0; k < num_buckets; ++k) offsets[k + 1] += offsets[k];
}

// Call place(position, i) for every i in order, where `position` is that of i after a stable sort by key.
template <class Key, class Place>
void scatter(const Key* key, int64_t n, std::vector<int64_t> next, const Place& place) {
  for (int64_t i = 0; i < n; ++i) place(next[int64_t(key[i])]++, i);
}

const Dtype& index_type(int64_t num_cols) { return num_cols <= INT32_MAX ? kDtypes.int32 : kDtypes.int64; }

// Sort by column, then stably by row, so that columns ascend in each row.
template <class I> void sort_edges(const Arguments& args, const int64_t* row, const int64_t* col, int64_t n,
                                   int64_t num_rows, int64_t num_cols, int64_t* rowptr, I* col_out, int64_t* order) {
  struct Edge {
    int64_t row, index;
    I col;
  };
  std::vector<Edge> by_col(static_cast<size_t>(n));
  std::vector<int64_t> offsets(static_cast<size_t>(num_cols) + 1);
  count(args, "col", col, n, offsets.data(), num_cols);
  scatter(col, n, std::move(offsets), [&](int64_t to, int64_t i) { by_col[size_t(to)] = {row[i], i, I(col[i])}; });
  count(args, "row", row, n, rowptr, num_rows);
  std::vector<int64_t> next(rowptr, rowptr + num_rows + 1);
  for (const Edge& edge : by_col) {
    const int64_t to = next[size_t(edge.row)]++;
    col_out[to] = edge.col;
    order[to] = edge.index;
  }
}

std::tuple<Tensor, Tensor, Tensor> coo_to_csr(const Tensor& row, const Tensor& col, int64_t num_rows,
                                              int64_t num_cols) {
  Arguments args("coo_to_csr", true);
  args.size("num_rows", num_rows);
  args.size("num_cols", num_cols);
  int64_t n = 0;
  const int64_t* rows = args.int64s("row", row, {"num_edges", -1}, &n);
  const int64_t* cols = args.int64s("col", col, {"num_edges", n});
  const bool int64_columns = &index_type(num_cols) == &kDtypes.int64;
  Tensor rowptr = new_vector(num_rows + 1, kDtypes.int64), order = new_vector(n, kDtypes.int64);
  Tensor col_out = new_vector(n, index_type(num_cols));
  const auto run = [&](auto* out) {
    sort_edges(args, rows, cols, n, num_rows, num_cols, static_cast<int64_t*>(rowptr.mutable_data_ptr()), out,
               static_cast<int64_t*>(order.mutable_data_ptr()));
  };
  if (int64_columns)
    run(static_cast<int64_t*>(col_out.mutable_data_ptr()));
  else
    run(static_cast<int32_t*>(col_out.mutable_data_ptr()));
  return {rowptr, col_out, order};
}

// Rows are in order, so one stable sort by column is enough.
template <class I, class O> void flip(const Arguments& args, const int64_t* rowptr, const I* col, int64_t num_rows,
                                      int64_t num_cols, int64_t* colptr, O* row_out, int64_t* order) {
  count(args, "col", col, rowptr[num_rows], colptr, num_cols);
  std::vector<int64_t> next(colptr, colptr + num_cols + 1);
  for (int64_t row = 0; row < num_rows; ++row) {
    for (int64_t e = rowptr[row]; e < rowptr[row + 1]; ++e) {
      const int64_t to = next[size_t(col[e])]++;
      row_out[to] = O(row);
      order[to] = e;
    }
  }
}

std::tuple<Tensor, Tensor, Tensor> csr_transpose(const Tensor& rowptr, const Tensor& col, int64_t num_cols) {
  Arguments args("csr_transpose", true);
  args.size("num_cols", num_cols);
  int64_t size = 0;
  args.int64s("rowptr", rowptr, {"num_rows+1", -1}, &size);
  if (size < 1) args.refuse("rowptr must have num_rows+1 numbers, got none");
  Half half;
  read_edges(args, half, {"", rowptr, col, {}, {}, {}, {}, {}}, size - 1, num_cols);
  args.check_offsets("rowptr", half.rowptr, size, half.num_edges);
  // Columns are int32 if they fit, so that the transpose of a symmetric matrix has the same columns.
  const bool int64_rows = args.int64_columns() || &index_type(size - 1) == &kDtypes.int64;
  Tensor colptr = new_vector(num_cols + 1, kDtypes.int64), order = new_vector(half.num_edges, kDtypes.int64);
  Tensor row_out = new_vector(half.num_edges, int64_rows ? kDtypes.int64 : kDtypes.int32);
  const auto run = [&](const auto* from, auto* to) {
    flip(args, half.rowptr, from, size - 1, num_cols, static_cast<int64_t*>(colptr.mutable_data_ptr()), to,
         static_cast<int64_t*>(order.mutable_data_ptr()));
  };
  void* to = row_out.mutable_data_ptr();
  if (args.int64_columns())
    run(static_cast<const int64_t*>(half.col), static_cast<int64_t*>(to));
  else if (int64_rows)
    run(static_cast<const int32_t*>(half.col), static_cast<int64_t*>(to));
  else
    run(static_cast<const int32_t*>(half.col), static_cast<int32_t*>(to));
  return {colptr, row_out, order};
}

}  // namespace
}  // namespace sbp

STABLE_TORCH_LIBRARY_IMPL(sbp, CPU, m) {
  m.impl("coo_to_csr", TORCH_BOX(&sbp::coo_to_csr));
  m.impl("csr_transpose", TORCH_BOX(&sbp::csr_transpose));
}
