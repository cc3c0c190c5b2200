// What the device kernels read: the structs of ../params.h plus the order in which rows are worked on.
#pragma once

#include "../params.h"

namespace sbp::device {

// Rows by work, heaviest first. Any part may be empty; without any, every row gets a warp, in order.
struct RowPlan {
  const int32_t* chunk = nullptr;  // [num_chunks, 3]: row, first and last edge of the row (A+ then A-)
  const int32_t* hub = nullptr;    // [num_hubs + 1, 2]: row, first chunk
  const int32_t* block_rows = nullptr;
  const int32_t* warp_rows = nullptr;
  const int32_t* light_rows = nullptr;  // a group of lanes a row
  int num_chunks = 0, num_hubs = 0, num_block_rows = 0;
  int64_t num_warp_rows = 0, num_light_rows = 0;
};

// y = r R + coef+ A+ x + coef- A- x' of every row in the plan.
template <class A> struct SignedSpmmParams {
  Half half[2];
  RowPlan plan;
  const A* coef_tensor = nullptr;  // [3], read on the device; else the three numbers below
  A coef[3] = {A(0), A(1), A(1)};
  const void* residual = nullptr;
  int64_t residual_stride = 0;
  void* y = nullptr;               // [num_rows, width]
  void* y_neg = nullptr;           // pair only
  A* z = nullptr;                  // in place of y, unrounded
  A* rstd = nullptr;               // [num_rows], LayerNorm in registers
  A* partial = nullptr;            // [num_chunks, sums, width]
  const void* dot_with = nullptr;  // signed_dot: y, whose products with each part are summed
  int64_t dot_stride = 0;
  double* dot_out = nullptr;  // [blocks, 3]
  // Several steps: total += gamma[step] y, from gamma[0] x on; the last step rounds it into total_out.
  const A* gamma = nullptr;
  A* total = nullptr;  // [num_rows, width]
  void* total_out = nullptr;
  int step = 1, num_steps = 1;
  A eps = A(0);
  int64_t width = 0;
  int log_lanes = 5;  // lanes that share one row's features, as a power of two
};

}  // namespace sbp::device
