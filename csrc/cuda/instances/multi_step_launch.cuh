// Choice of the variant and grid of the multi-step kernel. Included once per storage type.
#pragma once

#include "row_launch.cuh"
#include "multi_step_launch.h"

namespace sbp::device {

// The number of blocks that can run at the same time; 0 if the device has no cooperative launches.
template <class... P> int64_t resident_blocks(const Context& context, void (*kernel)(P...), int shared) {
  int cooperative = 0, processors = 0, per_processor = 0;
  cudaDeviceGetAttribute(&cooperative, cudaDevAttrCooperativeLaunch, context.device);
  cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, context.device);
  const bool known =
      cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_processor, kernel, kThreads, size_t(shared)) == cudaSuccess;
  return cooperative != 0 && known ? int64_t(processors) * per_processor : 0;
}

inline bool fits_in_cache(const Context& context, int64_t bytes) {
  int cache = 0;
  cudaDeviceGetAttribute(&cache, cudaDevAttrL2CacheSize, context.device);
  return bytes <= cache;
}

template <class S, class I, class Epilogue>
bool launch_multi_step(const Context& context, MultiStepParams<Acc<S>> params, bool whole_row) {
  RowPassParams<Acc<S>>& p = params.pass;
  bool launched = false;
  by_cut<S>(p, whole_row, [&](auto cut) {
    constexpr int kVec = decltype(cut)::kVec, kTile = decltype(cut)::kTile;
    constexpr bool kUsed = std::is_same<Epilogue, LayerNorm>::value ? true : kTile * kVec * sizeof(S) <= 32;
    if constexpr (kUsed) {
      p.log_lanes = log_lanes_for(p.width, int64_t(kVec) * kTile);
      const dim3 pass = grid_of(p, int64_t(kVec) * kTile);
      params.blocks = int(pass.x);
      params.tiles = int(pass.y);
      const auto kernel = multi_step_kernel<S, I, kVec, kTile, Epilogue>;
      const int shared = int(sizeof(Acc<S>)) * kThreads * kVec;
      int64_t blocks = std::min(resident_blocks(context, kernel, shared), int64_t(params.blocks) * params.tiles);
      if (blocks == 0) return;
      context.launch_cooperative("multi_step_kernel", kernel, dim3(unsigned(blocks)), shared, p.width, params);
      launched = true;
    }
  });
  return launched;
}

template <class S>
bool run_multi_step(const Context& context, MultiStepParams<Acc<S>> params, bool layer_norm, bool int64_columns) {
  const RowPassParams<Acc<S>>& p = params.pass;
  const int64_t rows = p.bins.num_block_rows + p.bins.num_warp_rows + p.bins.num_light_rows;
  // Hub rows need a second pass per step, and doubles serve for checks only: both take one or several launches per
  // step.
  if constexpr (sizeof(S) == 8) {
    return false;
  } else {
    if (int64_columns || p.bins.num_hubs > 0 || rows == 0 || p.width == 0 || p.num_steps < 2) return false;
    if (!fits_in_cache(context, 2 * rows * p.width * int64_t(sizeof(S)))) return false;
    if (layer_norm && p.width > norm_width<S>(p)) return false;
    if (layer_norm) return launch_multi_step<S, int32_t, LayerNorm>(context, params, true);
    return launch_multi_step<S, int32_t, Identity>(context, params, false);
  }
}

#define SBP_INSTANTIATE_MULTI_STEP(S) \
  template bool run_multi_step<S>(const Context&, MultiStepParams<Acc<S>>, bool, bool);

}  // namespace sbp::device
