// Second passes over rows, launched after the row pass on the same stream: the sum of the chunks of a hub row,
// LayerNorm of hub rows and of rows that do not fit in registers, and the sum of the dot products of all blocks.
//
// A block adds the chunks of one hub row for 32 features: warp w adds every kWarps-th chunk, then warp 0 adds the warps
// in order through shared memory. LayerNorm takes a warp per row. Stream order makes the results of the row pass
// visible; every order of summation is fixed.
#pragma once

#include "epilogue.cuh"

namespace sbp::device {

// Add the chunks of a hub row in order, then finish the row as Identity and Pair do. A block per hub and 32 features.
template <class S, int kSums> __global__ void __launch_bounds__(kThreads)
    hub_rows_kernel(const __grid_constant__ RowPassParams<Acc<S>> p, bool by_hub) {
  using A = Acc<S>;
  SBP_SHARED(A, shared);
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
  const int64_t hub = blockIdx.x, feature = int64_t(blockIdx.y) * kLanes + lane;
  const int64_t row = __ldg(p.bins.hub + 2 * hub);
  const int first = __ldg(p.bins.hub + 2 * hub + 1), last = __ldg(p.bins.hub + 2 * hub + 3);
  const bool inside = feature < p.width;
#pragma unroll
  for (int s = 0; s < kSums; ++s) {
    // Each warp adds every kWarps-th chunk; then the warps are added in order.
    A sum = 0;
    for (int c = first + warp; c < last && inside; c += kWarps)
      sum += p.partial[(int64_t(c) * kSums + s) * p.width + feature];
    shared[threadIdx.x] = sum;
    __syncthreads();
    if (warp == 0 && inside) {
      A acc[1] = {A(0)};
      for (int w = 0; w < kWarps; ++w) acc[0] += shared[w * kLanes + lane];
      if constexpr (kSums == 1) {
        add_dense<S, 1, false>(p, row, feature, acc);
      } else if (p.half[s].table != nullptr) {
        acc[0] += table_row<A>(p.half[s], row, p.width)[feature];
      }
      if (p.z != nullptr) {
        p.z[(by_hub ? hub : row) * p.width + feature] = acc[0];
      } else {
        S* y = static_cast<S*>(s == 0 ? p.y : p.y_neg);
        store<S, 1>(y + row * p.width + feature, acc);
        add_to_total<S, 1, false>(p, row, feature, acc);
      }
    }
    __syncthreads();
  }
}

// Standardize the rows of z, a warp per row. With by_hub, row i of z belongs to hub i.
template <class S> __global__ void __launch_bounds__(kThreads)
    norm_kernel(const __grid_constant__ RowPassParams<Acc<S>> p, int64_t num_rows, bool by_hub) {
  using A = Acc<S>;
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
  const int64_t item = int64_t(blockIdx.x) * kWarps + warp;
  const int64_t from = item < num_rows ? item : 0, width = item < num_rows ? p.width : 0;
  const A* z = p.z + from * p.width;
  const Standardization<A> norm = standardization(p.width, kLanes, p.eps, [&](auto f) {
    for (int64_t k = lane; k < width; k += kLanes) f(z[k]);
  });
  if (item >= num_rows) return;
  const int64_t row = by_hub ? int64_t(__ldg(p.bins.hub + 2 * item)) : item;
  if (lane == 0 && p.rstd != nullptr) p.rstd[row] = norm.rstd;
  for (int64_t k = lane; k < width; k += kLanes) {
    const A out[1] = {(norm.scale * z[k] - norm.mean) * norm.factor};
    store<S, 1>(static_cast<S*>(p.y) + row * p.width + k, out);
    add_to_total<S, 1, false>(p, row, k, out);
  }
}

// Add triples in a fixed order in one block: thread t adds every kThreads-th triple, then threads are added pairwise.
template <class A> __global__ void __launch_bounds__(kThreads)
    sum_triples_kernel(const double* triples, int64_t count, A* out) {
  SBP_SHARED(double, shared);
  for (int i = 0; i < 3; ++i) {
    double sum = 0.0;
    for (int64_t k = threadIdx.x; k < count; k += kThreads) sum += triples[3 * k + i];
    shared[threadIdx.x] = sum;
    __syncthreads();
    for (int half = kThreads / 2; half > 0; half /= 2) {
      if (int(threadIdx.x) < half) shared[threadIdx.x] += shared[threadIdx.x + half];
      __syncthreads();
    }
    if (threadIdx.x == 0) out[i] = A(shared[0]);
    __syncthreads();
  }
}

}  // namespace sbp::device
