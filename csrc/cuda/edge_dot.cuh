// Edge dot: row_scale_i col_scale_j <a_i, b_j> for every edge j -> i, the gradient of edge weights.
//
// A warp has 32 consecutive edges, of one or several rows, so hub rows need no special case. Each lane finds the row
// and column of one edge; the groups of 2^log_lanes lanes then compute the dot products of these edges, kUnroll at a
// time. Lanes add by shuffles in a fixed order, and each lane stores the result of its own edge.
#pragma once

#include "device.cuh"
#include "params.cuh"

namespace sbp::device {

// The row whose edges include e: the last one that starts at or before it.
SBP_DEVICE int64_t row_of(const int64_t* rowptr, int64_t num_rows, int64_t e) {
  int64_t low = 0, high = num_rows;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    if (__ldg(rowptr + middle) <= e)
      low = middle;
    else
      high = middle;
  }
  return low;
}

template <class S, class I, int kVec> __global__ void __launch_bounds__(kThreads, 2)
    edge_dot_kernel(const __grid_constant__ EdgeDotParams p, int64_t num_rows, int64_t num_edges, int log_lanes) {
  using A = Acc<S>;
  constexpr int kUnroll = 4;
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
  const int lanes = 1 << log_lanes, member = lane & (lanes - 1), group_first = lane - member;
  const int64_t first = (int64_t(blockIdx.x) * kWarps + warp) * kLanes;
  const int64_t own = first + lane;
  // Each lane finds the row and column of one edge; its group then computes the edges of its lanes in turn.
  const bool in = own < num_edges;
  const int64_t row = in ? row_of(p.half.rowptr, num_rows, own) : 0;
  const int64_t col = in ? int64_t(__ldg(static_cast<const I*>(p.half.col) + own)) : 0;
  A result = 0;
  for (int t = 0; t < lanes; t += kUnroll) {
    A dot[kUnroll] = {};
    const S *a[kUnroll], *b[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      // With fewer lanes than kUnroll, some steps repeat an edge of the group; their results are not stored.
      const int from = group_first + ((t + u) & (lanes - 1));
      a[u] = static_cast<const S*>(p.a) + __shfl_sync(kAllLanes, row, from) * p.a_stride;
      b[u] = static_cast<const S*>(p.half.x) + __shfl_sync(kAllLanes, col, from) * p.half.x_stride;
    }
    for (int64_t k = int64_t(member) * kVec; k < p.width; k += int64_t(lanes) * kVec) {
      Word<S, kVec> word[kUnroll][2];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        word[u][0] = __ldg(reinterpret_cast<const Word<S, kVec>*>(a[u] + k));
        word[u][1] = __ldg(reinterpret_cast<const Word<S, kVec>*>(b[u] + k));
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        A left[kVec], right[kVec];
        unpack<S, kVec>(word[u][0], left);
        unpack<S, kVec>(word[u][1], right);
#pragma unroll
        for (int v = 0; v < kVec; ++v) dot[u] += left[v] * right[v];
      }
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const A whole = sum_lanes(dot[u], 1, lanes);
      if (t + u == member) result = whole;
    }
  }
  if (!in) return;
  if (p.half.row_scale != nullptr) result *= __ldg(static_cast<const A*>(p.half.row_scale) + row);
  if (p.half.col_scale != nullptr) result *= __ldg(static_cast<const A*>(p.half.col_scale) + col);
  static_cast<A*>(p.out)[own] = result;
}

}  // namespace sbp::device
