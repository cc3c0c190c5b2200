// Plain structs of pointers and sizes: what a kernel reads, with no torch type in sight.
#pragma once

#include <cstdint>

namespace sbp {

// Edges between the one whose features are asked for and the one at work; runs on across rows.
constexpr int64_t kAhead = 24;

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
  int64_t prefetch_end = 0;  // edges before this one prefetch for the edge kAhead later
  double coef = 0.0;
};

// Both signs in one list of int32 columns, with the whole factor of each edge but the coefficient in its weight. The
// edges of row i that are read begin at start[2 i] and end before start[2 i + signs]. Where `apart`, those before
// start[2 i + 1] take the first factor too, the others the second. The coefficient is that of half[0], once a row.
struct MergedRows {
  const int64_t* start = nullptr;
  int64_t signs = 0;
  bool apart = false;
  double factor[2] = {1.0, 1.0};
};

// y = r R + coef+ A+ x + coef- A- x', optionally standardised row by row.
struct SpmmParams {
  Half half[2];
  MergedRows merged;  // where given, half[0] lists the edges and x = x'
  const void* residual = nullptr;
  int64_t residual_stride = 0;
  double r = 0.0;
  void* y = nullptr;      // [num_rows, width]
  bool streams = false;   // past the caches: y is larger than they keep, its rows begin on 64-byte lines
  void* y_neg = nullptr;  // pair only: A- x, while y takes A+ x
  void* rstd = nullptr;   // [num_rows], LayerNorm only
  double eps = -1.0;      // < 0: no LayerNorm
  int64_t num_rows = 0;
  int64_t width = 0;
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
  // The sums of spmm, unrounded: out [num_rows, width] in the accumulation type.
  void (*sum)(const SpmmParams&, void* out, int64_t begin, int64_t end);
};

// How edges are listed: by half and the type of their columns, or both signs in one list (spmm only).
enum Listing : int { kNarrow = 0, kWide = 1, kMerged = 2 };
constexpr int kNumListings = 3;

struct IsaKernels {
  const char* name;
  RowKernels table[kNumTypes][kNumListings];
};

}  // namespace sbp
