// The multi-step kernel: K steps of propagation in one cooperative launch.
//
// All blocks are resident. Step k reads one of two buffers, which fit in L2, and writes the other. A block has the same
// rows in every step, so only it updates their running sum. Blocks synchronise with the grid barrier: before a step
// reads what other blocks wrote in the step before, and after each phase of a class block (segments, then table).
// The barrier orders these writes; reads of data that this launch writes use ld.global.cg (`read<true>`), because L1 is
// not coherent between multiprocessors.
#pragma once

#if defined(__CUDACC__)
#include <cooperative_groups.h>
#endif

#include "epilogue.cuh"
#include "group_sum.cuh"

namespace sbp::device {

#if defined(__CUDACC__)
SBP_DEVICE void sync_grid() { cooperative_groups::this_grid().sync(); }
#else
inline void sync_grid() { shim::wait_grid(); }
#endif

// The class block of one half, whose table is recomputed from the features in every step.
struct ClassBlockSums {
  GroupSumParams segments;  // x changes from step to step; out: [num_segments, width]
  const int64_t* group_segptr = nullptr;
  const void* block = nullptr;  // [num_groups, num_groups]; null: this half has no class block
  void* table = nullptr;        // [num_groups, width]
  int num_segments = 0, num_groups = 0;
};

template <class A> struct MultiStepParams {
  RowPassParams<A> pass;  // of the first step
  ClassBlockSums classes[2];
  void* buffer[2] = {nullptr, nullptr};  // step k writes buffer[k % 2]
  bool own_residual = true;
  int blocks = 0, tiles = 0;  // of one row pass
};

// What the row pass of step k reads and writes.
template <class A>
#if defined(__CUDACC__)
__host__ __device__ __forceinline__
#else
inline
#endif
    RowPassParams<A> params_of_step(const MultiStepParams<A>& params, int k) {
  RowPassParams<A> p = params.pass;
  p.step = k;
  p.y = params.buffer[k % 2];
  if (k > 1) {
    p.half[0].x = p.half[1].x = params.buffer[(k - 1) % 2];
    p.half[0].x_stride = p.half[1].x_stride = p.width;
    if (params.own_residual) {
      p.residual = p.half[0].x;
      p.residual_stride = p.width;
    }
  }
  return p;
}

// table[g] = sum over groups h of block[g, h] (sum of the segments of h), each number by one thread in the order of h
// and of the segments.
template <class A>
SBP_DEVICE void compute_table(const ClassBlockSums& classes, int64_t width, int64_t first, int64_t stride) {
  const A* partial = static_cast<const A*>(classes.segments.out);
  for (int64_t at = first; at < classes.num_groups * width; at += stride) {
    const int64_t group = at / width, feature = at % width;
    A value = 0;
    for (int h = 0; h < classes.num_groups; ++h) {
      A sum = 0;
      const int64_t end = __ldg(classes.group_segptr + h + 1);
      for (int64_t s = __ldg(classes.group_segptr + h); s < end; ++s) sum += __ldcg(partial + s * width + feature);
      value += __ldg(static_cast<const A*>(classes.block) + group * classes.num_groups + h) * sum;
    }
    static_cast<A*>(classes.table)[at] = value;
  }
}

template <class S, class I, int kVec, int kTile, class Epilogue> __global__ void __launch_bounds__(kThreads, 2)
    multi_step_kernel(const __grid_constant__ MultiStepParams<Acc<S>> params) {
  using A = Acc<S>;
  SBP_SHARED(A, shared);
  const bool has_class_block = params.classes[0].block != nullptr || params.classes[1].block != nullptr;
  for (int k = 1; k <= params.pass.num_steps; ++k) {
    const RowPassParams<A> p = params_of_step(params, k);
    if (has_class_block) {
      // Every row reads the tables, so they are computed first.
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        if (params.classes[h].block == nullptr) continue;
        GroupSumParams segments = params.classes[h].segments;
        segments.x = p.half[h].x;
        segments.x_stride = p.half[h].x_stride;
        const int tiles = int((p.width + kLanes * kVec - 1) / (kLanes * kVec));
        for (int item = blockIdx.x; item < params.classes[h].num_segments * tiles; item += gridDim.x) {
          group_sum_block<S, kVec, true>(segments, item / tiles, item % tiles, shared);
        }
      }
      sync_grid();
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        if (params.classes[h].block == nullptr) continue;
        compute_table<A>(params.classes[h], p.width, int64_t(blockIdx.x) * kThreads + threadIdx.x,
                         int64_t(gridDim.x) * kThreads);
      }
      sync_grid();
    }
    // A block has the same rows in every step, so only it updates their running sum.
    for (int item = blockIdx.x; item < params.blocks * params.tiles; item += gridDim.x) {
      row_pass<S, I, kVec, kTile, Epilogue, true>(p, item % params.blocks, item / params.blocks, shared);
    }
    if (k < params.pass.num_steps) sync_grid();
  }
}

}  // namespace sbp::device
