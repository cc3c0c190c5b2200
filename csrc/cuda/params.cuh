// The parameters of the row pass on the device: the halves and degree bins of ../params.h, and the results.
#pragma once

#include "../params.h"

namespace sbp::device {

// y = r R + coef+ A+ x + coef- A- x' of every row in the degree bins.
template <class A> struct RowPassParams {
  Half half[2];
  DegreeBins bins;
  const A* coef_tensor = nullptr;  // [3], read on the device; null: the three numbers below
  A coef[3] = {A(0), A(1), A(1)};
  const void* residual = nullptr;
  int64_t residual_stride = 0;
  void* y = nullptr;               // [num_rows, width]
  void* y_neg = nullptr;           // pair only
  A* z = nullptr;                  // if given: instead of y, before rounding
  A* rstd = nullptr;               // [num_rows], LayerNorm in registers
  A* partial = nullptr;            // [num_chunks, sums, width]
  const void* dot_with = nullptr;  // signed_dot: y, whose products with each part are summed
  int64_t dot_stride = 0;
  double* dot_out = nullptr;  // [blocks, 3]
  // Multi-step: total = gamma[0] x, then total += gamma[step] y; the last step rounds the sum into total_out.
  const A* gamma = nullptr;
  A* total = nullptr;  // [num_rows, width]
  void* total_out = nullptr;
  int step = 1, num_steps = 1;
  A eps = A(0);
  int64_t width = 0;
  int log_lanes = 5;  // log2 of the lanes that share the features of one row
};

}  // namespace sbp::device
