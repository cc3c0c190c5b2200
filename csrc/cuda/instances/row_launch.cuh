// Choice of the kernel variant and grid of a row pass. Included once per storage type, so that types compile in
// parallel.
#pragma once

#include "../hub_rows.cuh"
#include "row_launch.h"

namespace sbp::device {

// How the features of a row are cut: numbers per load, loads per lane.
template <int V, int T> struct Cut {
  static constexpr int kVec = V, kTile = T;
};

template <class S, int kVec> bool can_load(const RowPassParams<Acc<S>>& p) {
  using A = Acc<S>;
  bool ok = aligned<S, kVec>(p.residual, p.residual_stride, p.width) && aligned<S, kVec>(p.y, 0, p.width) &&
            aligned<S, kVec>(p.y_neg, 0, p.width) && aligned<S, kVec>(p.dot_with, p.dot_stride, p.width);
  for (const Half& half : p.half) {
    ok = ok && aligned<S, kVec>(half.x, half.x_stride, p.width) && aligned<A, kVec>(half.table, 0, p.width);
  }
  return ok;
}

// Call f with the cut of the longest loads that the layout allows. With whole_row, the registers of one warp hold
// longer rows.
template <class S, class F> void by_cut(const RowPassParams<Acc<S>>& p, bool whole_row, const F& f) {
  constexpr int kFull = 16 / int(sizeof(S));
  if constexpr (sizeof(S) < 8) {
    if (can_load<S, kFull>(p)) {
      if (whole_row && p.width > kFull * kLanes) return f(Cut<kFull, 4>{});
      return f(Cut<kFull, 1>{});
    }
  }
  if constexpr (sizeof(S) == 2) {
    if (can_load<S, 4>(p)) return f(Cut<4, 2>{});
  }
  return f(Cut<1, 4>{});
}

template <class S> int64_t norm_width(const RowPassParams<Acc<S>>& p) {
  if (sizeof(S) == 8) return 0;
  int64_t width = 0;
  by_cut<S>(p, true, [&](auto cut) { width = int64_t(decltype(cut)::kVec) * decltype(cut)::kTile * kLanes; });
  return width;
}

template <class A> dim3 grid_of(const RowPassParams<A>& p, int64_t per_lane) {
  const int64_t groups = kLanes >> p.log_lanes;
  const int64_t blocks = int64_t(p.bins.num_chunks) + p.bins.num_block_rows + ceil_div(p.bins.num_warp_rows, kWarps) +
                         ceil_div(p.bins.num_light_rows, kWarps * groups);
  const int64_t tiles = ceil_div(p.width, per_lane << p.log_lanes);
  return dim3(unsigned(blocks), unsigned(tiles < 1 ? 1 : tiles));
}

template <class S> dim3 row_grid(const RowPassParams<Acc<S>>& params, RowOp op) {
  RowPassParams<Acc<S>> p = params;
  dim3 grid(0);
  by_cut<S>(p, op == RowOp::kNorm, [&](auto cut) {
    const int64_t per_lane = int64_t(decltype(cut)::kVec) * decltype(cut)::kTile;
    p.log_lanes = log_lanes_for(p.width, per_lane);
    grid = grid_of(p, per_lane);
  });
  return grid;
}

template <class S, class I, class Epilogue>
void launch_rows(const Context& context, RowPassParams<Acc<S>> p, bool whole_row) {
  by_cut<S>(p, whole_row, [&](auto cut) {
    constexpr int kVec = decltype(cut)::kVec, kTile = decltype(cut)::kTile;
    // Only LayerNorm needs the cut of several tiles for 16-byte loads; LayerNorm of doubles never runs in registers.
    constexpr bool kUsed = std::is_same<Epilogue, LayerNorm>::value ? sizeof(S) < 8 : kTile * kVec * sizeof(S) <= 32;
    if constexpr (kUsed) {
      p.log_lanes = log_lanes_for(p.width, int64_t(kVec) * kTile);
      const bool shares = p.bins.num_chunks + p.bins.num_block_rows > 0;
      constexpr int kDotBytes = Epilogue::kSums == 2 ? 3 * kWarps * int(sizeof(double)) : 0;
      const int shared = shares ? int(sizeof(Acc<S>)) * kThreads * kVec : kDotBytes;
      context.launch("row_pass_kernel", row_pass_kernel<S, I, kVec, kTile, Epilogue>, grid_of(p, int64_t(kVec) * kTile),
                     shared, p.width, p);
    }
  });
}

template <class S, class I> void launch_op(const Context& context, const RowPassParams<Acc<S>>& p, RowOp op) {
  switch (op) {
    case RowOp::kSpmm:
      return launch_rows<S, I, Identity>(context, p, false);
    case RowOp::kNorm:
      return launch_rows<S, I, LayerNorm>(context, p, true);
    case RowOp::kPair:
      return launch_rows<S, I, Pair>(context, p, false);
    case RowOp::kDot:
      return launch_rows<S, I, Dot>(context, p, false);
  }
}

template <class S> void run_rows(const Context& context, RowPassParams<Acc<S>> p, RowOp op, bool int64_columns) {
  if (int64_columns)
    launch_op<S, int64_t>(context, p, op);
  else
    launch_op<S, int32_t>(context, p, op);
  if (p.bins.num_hubs == 0 || op == RowOp::kDot) return;
  const dim3 grid(unsigned(p.bins.num_hubs), unsigned(ceil_div(p.width, kLanes)));
  const int shared = int(sizeof(Acc<S>)) * kThreads;
  const bool by_hub = op == RowOp::kNorm;
  if (op == RowOp::kPair) {
    context.launch("hub_rows_kernel", hub_rows_kernel<S, 2>, grid, shared, p.width, p, by_hub);
  } else {
    context.launch("hub_rows_kernel", hub_rows_kernel<S, 1>, grid, shared, p.width, p, by_hub);
  }
  if (op == RowOp::kNorm) run_norm<S>(context, p, p.bins.num_hubs, true);
}

template <class S>
void run_norm(const Context& context, const RowPassParams<Acc<S>>& p, int64_t num_rows, bool by_hub) {
  context.launch("norm_kernel", norm_kernel<S>, dim3(unsigned(ceil_div(num_rows, kWarps))), 0, p.width, p, num_rows,
                 by_hub);
}

#define SBP_INSTANTIATE_ROW_PASS(S)                                              \
  template int64_t norm_width<S>(const RowPassParams<Acc<S>>&);                  \
  template dim3 row_grid<S>(const RowPassParams<Acc<S>>&, RowOp);                \
  template void run_rows<S>(const Context&, RowPassParams<Acc<S>>, RowOp, bool); \
  template void run_norm<S>(const Context&, const RowPassParams<Acc<S>>&, int64_t, bool);

}  // namespace sbp::device
