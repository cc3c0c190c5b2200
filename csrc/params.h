// Plain structs of pointers and sizes, without torch types: what the kernels of all devices read.
#pragma once

#include <cstdint>

namespace sbp {

enum class Type : int { kFloat32 = 0, kFloat64 = 1, kBFloat16 = 2, kFloat16 = 3 };
constexpr int kNumTypes = 4;

// One adjacency and the features it gathers:
//   (A x)_i = coef * (row_scale_i * sum_e weight_e * col_scale_j * x_j + table[group_i])
// Absent parts are null. Weights, scales and table are in the accumulation type.
struct Half {
  const int64_t* rowptr = nullptr;
  const void* col = nullptr;  // int32 or int64
  const void* weight = nullptr;
  const void* row_scale = nullptr;
  const void* col_scale = nullptr;
  const void* table = nullptr;
  const int64_t* group = nullptr;  // null: row i reads table[i]
  const void* x = nullptr;
  int64_t x_stride = 0;
  int64_t num_edges = 0;
  // On a CPU, edges before `prefetch_end` prefetch the features of the edge that comes `prefetch_distance` edges later,
  // in this row or a later one.
  int64_t prefetch_end = 0;
  int64_t prefetch_distance = 0;
  bool prefetch_to_l1 = false;  // else to L2
  int64_t x_bytes = 0;
  double coef = 0.0;
};

// A merged CSR: both signs of a row in one range of int32 columns. The weight of an edge is the product of its weight
// and scales. A row pass reads the edges of row i from start[2 i] up to start[2 i + signs]. With `two_factors`, it
// multiplies the edges before start[2 i + 1] by factor[0] and the others by factor[1]. It multiplies the sum of a row
// by the coefficient of half[0].
struct MergedRows {
  const int64_t* start = nullptr;
  int64_t signs = 0;
  bool two_factors = false;
  double factor[2] = {1.0, 1.0};
};

// y = r R + coef+ A+ x + coef- A- x', with LayerNorm of each row if eps >= 0.
struct SpmmParams {
  Half half[2];
  MergedRows merged;  // if given, half[0] has the columns and weights of the merged CSR, and x = x'
  const void* residual = nullptr;
  int64_t residual_stride = 0;
  double r = 0.0;
  void* y = nullptr;          // [num_rows, width]
  bool non_temporal = false;  // y takes non-temporal stores; its rows then begin on 64-byte lines
  void* y_neg = nullptr;      // pair only: A- x, while y takes A+ x
  void* rstd = nullptr;       // [num_rows], LayerNorm only
  double eps = -1.0;          // < 0: no LayerNorm
  int64_t num_rows = 0;
  int64_t width = 0;
  int64_t y_stride = 0;  // from a row of y, or of a table, to the next: width, or more for a tile of the features
};

// Rows in bins by degree (the edges of both halves), the largest degrees first. A GPU gives a row of each bin to more
// or fewer threads; the CPU does not read the bins. Any bin may be empty. A null list of rows stands for all rows in
// order.
struct DegreeBins {
  const int32_t* chunk = nullptr;       // [num_chunks, 3]: hub row, first and last edge of the row (A+ then A-)
  const int32_t* hub = nullptr;         // [num_hubs + 1, 2]: row, first chunk
  const int32_t* block_rows = nullptr;  // a block of threads per row
  const int32_t* warp_rows = nullptr;   // a warp per row
  const int32_t* light_rows = nullptr;  // a group of lanes per row
  int num_chunks = 0, num_hubs = 0, num_block_rows = 0;
  int64_t num_warp_rows = 0, num_light_rows = 0;
};

// For every row: <y, R>, <y, A+ x>, <y, A- x>.
struct DotParams {
  Half half[2];
  const void* y = nullptr;
  const void* residual = nullptr;
  int64_t y_stride = 0;
  int64_t residual_stride = 0;
  double* out = nullptr;  // [num_rows, 3]
  int64_t width = 0;
};

// For every edge j -> i: row_scale_i col_scale_j <a_i, b_j>; b is half.x.
struct EdgeDotParams {
  Half half;
  const void* a = nullptr;
  int64_t a_stride = 0;
  void* out = nullptr;  // [num_edges], accumulation type
  int64_t width = 0;
};

// Row kernels of one feature type and one index type, over rows [begin, end).
struct RowKernels {
  void (*spmm)(const SpmmParams&, int64_t begin, int64_t end);
  void (*pair)(const SpmmParams&, int64_t begin, int64_t end);
  void (*dot)(const DotParams&, int64_t begin, int64_t end);
  void (*edge_dot)(const EdgeDotParams&, int64_t begin, int64_t end);
  // The sums of spmm before rounding: out [num_rows, width] in the accumulation type.
  void (*sum)(const SpmmParams&, void* out, int64_t begin, int64_t end);
};

// How the edges are stored: two halves with int32 or int64 columns, or one merged CSR (spmm only).
enum EdgeFormat : int { kInt32Columns = 0, kInt64Columns = 1, kMergedCsr = 2 };
constexpr int kNumEdgeFormats = 3;

struct IsaKernels {
  const char* name;
  RowKernels table[kNumTypes][kNumEdgeFormats];
};

}  // namespace sbp
