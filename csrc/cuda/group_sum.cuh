// Group sums: the sum of the rows of x that each segment lists, and products of a block with such sums.
//
// A group sum is two launches: over the segments of all groups, then over the segments of each group. A block has one
// segment and kLanes vectors of features; warp w adds every kWarps-th row, then warp 0 adds the warps in order through
// shared memory. The order of each sum depends on the segments only; there are no atomics.
#pragma once

#include "device.cuh"

namespace sbp::device {

struct GroupSumParams {
  const void* x = nullptr;
  int64_t x_stride = 0;
  const int64_t* segptr = nullptr;
  const int32_t* order = nullptr;  // null: row e is e itself
  void* out = nullptr;             // [num_segments, width], accumulation type
  int64_t width = 0;
};

// The warps of a block add every kWarps-th row of a segment, kLanes vectors of features; then they are added in order.
template <class S, int kVec, bool kFresh>
SBP_DEVICE void group_sum_block(const GroupSumParams& p, int64_t segment, int tile, Acc<S>* shared) {
  using A = Acc<S>;
  constexpr int kUnroll = 8;
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
  const int64_t feature = (int64_t(tile) * kLanes + lane) * kVec;
  const bool inside = feature < p.width;
  const int64_t begin = __ldg(p.segptr + segment), end = __ldg(p.segptr + segment + 1);
  A acc[kVec] = {};
  for (int64_t e = begin + warp; e < end; e += kUnroll * kWarps) {
    // kUnroll rows in flight: there are too few segments for other blocks to hide the latency.
    Word<S, kVec> word[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int64_t at = e + u * kWarps;
      word[u] = Word<S, kVec>{};
      if (at >= end || !inside) continue;
      const int64_t row = p.order == nullptr ? at : int64_t(__ldg(p.order + at));
      const S* x = static_cast<const S*>(p.x) + row * p.x_stride + feature;
      word[u] = read<kFresh>(reinterpret_cast<const Word<S, kVec>*>(x));
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      A value[kVec];
      unpack<S, kVec>(word[u], value);
#pragma unroll
      for (int v = 0; v < kVec; ++v) acc[v] += value[v];
    }
  }
#pragma unroll
  for (int v = 0; v < kVec; ++v) shared[(warp * kVec + v) * kLanes + lane] = acc[v];
  __syncthreads();
  if (warp == 0 && inside) {
    for (int w = 1; w < kWarps; ++w) {
#pragma unroll
      for (int v = 0; v < kVec; ++v) acc[v] += shared[(w * kVec + v) * kLanes + lane];
    }
    store_acc<A, kVec>(static_cast<A*>(p.out) + segment * p.width + feature, acc);
  }
  __syncthreads();
}

template <class S, int kVec> __global__ void __launch_bounds__(kThreads)
    group_sum_kernel(const __grid_constant__ GroupSumParams p) {
  SBP_SHARED(Acc<S>, shared);
  group_sum_block<S, kVec, false>(p, blockIdx.x, blockIdx.y, shared);
}

struct MixParams {
  const void* block = nullptr;  // [num_rows, num_groups]
  const void* sums = nullptr;   // [num_groups, width]
  void* out = nullptr;
  int64_t num_rows = 0, num_groups = 0, width = 0;
};

// block @ sums. The matrices are tiny, so one thread computes each number, in the order of the groups.
template <class A> __global__ void __launch_bounds__(kThreads) mix_groups_kernel(const __grid_constant__ MixParams p) {
  const int64_t at = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= p.num_rows * p.width) return;
  const int64_t group = at / p.width, feature = at % p.width;
  const A* row = static_cast<const A*>(p.block) + group * p.num_groups;
  A sum = 0;
  for (int64_t h = 0; h < p.num_groups; ++h)
    sum += __ldg(row + h) * __ldg(static_cast<const A*>(p.sums) + h * p.width + feature);
  static_cast<A*>(p.out)[at] = sum;
}

}  // namespace sbp::device
