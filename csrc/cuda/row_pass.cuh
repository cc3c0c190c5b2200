// The row pass: both adjacencies of a row, residual, tables and epilogue in registers; one store.
//
// A group of 2^log_lanes lanes covers a row's features. Light rows take a group each, other rows a
// warp (its groups share the edges), heavy rows a block, hubs a block per chunk. What is added to
// what, and in which order, follows from the graph and the plan alone: results repeat bit for bit.
#pragma once

#include "device.cuh"
#include "params.cuh"

namespace sbp::device {

// Which row a lane works on, and which of its edges and features.
struct Place {
  int64_t row = -1;         // < 0: none
  int64_t feature = 0;      // of the lane's first vector
  int first = 0, last = 0;  // edges of the row, A+ then A-
  int share = 1, mine = 0;  // every share-th edge from the mine-th on
  int chunk = -1;           // >= 0: a part of a hub
  bool owner = true;        // stores what the sharers have summed
};

struct Lists {
  int64_t pos = 0, neg = 0;  // edge k of the row is pos + k, or neg + k from num_pos on
  int num_pos = 0, total = 0;
};

template <class A> SBP_DEVICE A coefficient(const SignedSpmmParams<A>& p, int i) {
  return p.coef_tensor == nullptr ? p.coef[i] : __ldg(p.coef_tensor + i);
}

// A half whose coefficient is zero is not read.
template <class A> SBP_DEVICE Lists lists_of(const SignedSpmmParams<A>& p, int64_t row, A pos_coef, A neg_coef) {
  Lists lists;
  if (row < 0) return lists;
  if (p.half[0].rowptr != nullptr && pos_coef != A(0)) {
    lists.pos = __ldg(p.half[0].rowptr + row);
    lists.num_pos = int(__ldg(p.half[0].rowptr + row + 1) - lists.pos);
  }
  lists.total = lists.num_pos;
  if (p.half[1].rowptr != nullptr && neg_coef != A(0)) {
    const int64_t begin = __ldg(p.half[1].rowptr + row);
    lists.total += int(__ldg(p.half[1].rowptr + row + 1) - begin);
    lists.neg = begin - lists.num_pos;
  }
  return lists;
}

SBP_DEVICE int64_t row_at(const int32_t* rows, int64_t i) { return rows == nullptr ? i : int64_t(__ldg(rows + i)); }

// From the number of a block to the rows of its lanes: chunks first, then heavy to light.
template <int kVec, int kTile> SBP_DEVICE Place place_of(const RowPlan& plan, int log_lanes, int64_t block, int tile) {
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
  const int lanes = 1 << log_lanes, groups = kLanes >> log_lanes, group = lane >> log_lanes;
  Place at;
  at.feature = (int64_t(tile) * kTile * lanes + (lane & (lanes - 1))) * kVec;
  const int64_t num_block_items = int64_t(plan.num_chunks) + plan.num_block_rows;
  const int64_t num_warp_blocks = (plan.num_warp_rows + kWarps - 1) / kWarps;
  if (block < num_block_items) {
    if (block < plan.num_chunks) {
      at.chunk = int(block);
      at.row = __ldg(plan.chunk + 3 * block);
    } else {
      at.row = row_at(plan.block_rows, block - plan.num_chunks);
    }
    at.share = groups * kWarps;
    at.mine = warp * groups + group;
    at.owner = warp == 0 && group == 0;
  } else if (block < num_block_items + num_warp_blocks) {
    const int64_t item = (block - num_block_items) * kWarps + warp;
    if (item < plan.num_warp_rows) at.row = row_at(plan.warp_rows, item);
    at.share = groups;
    at.mine = group;
    at.owner = group == 0;
  } else {
    const int64_t item = ((block - num_block_items - num_warp_blocks) * kWarps + warp) * groups + group;
    if (item < plan.num_light_rows) at.row = row_at(plan.light_rows, item);
  }
  return at;
}

// Add factor_e x_e over the lane's edges in [first, last): kUnroll rows in flight, and the next columns behind them.
template <class S, class I, int kVec, int kTile, bool kFresh>
SBP_DEVICE void gather(const SignedSpmmParams<Acc<S>>& p, const Lists& lists, const Place& at, int first, int last,
                       Acc<S> pos_base, Acc<S> neg_base, Acc<S> (&acc)[kTile][kVec]) {
  using A = Acc<S>;
  constexpr int kUnroll = sizeof(Word<S, kVec>) * kTile > 32 ? 2 : 4;
  const int step = kUnroll * at.share, lanes = 1 << p.log_lanes;

  I col[kUnroll];
  A factor[kUnroll];
  const auto fetch = [&](int from) {
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int k = from + u * at.share;
      col[u] = 0;
      factor[u] = A(0);
      if (k >= last) continue;
      const bool neg = k >= lists.num_pos;
      const int64_t edge = (neg ? lists.neg : lists.pos) + k;
      const void* weight = neg ? p.half[1].weight : p.half[0].weight;
      const void* scale = neg ? p.half[1].col_scale : p.half[0].col_scale;
      col[u] = __ldg(static_cast<const I*>(neg ? p.half[1].col : p.half[0].col) + edge);
      factor[u] = neg ? neg_base : pos_base;
      if (weight != nullptr) factor[u] *= __ldg(static_cast<const A*>(weight) + edge);
      if (scale != nullptr) factor[u] *= __ldg(static_cast<const A*>(scale) + int64_t(col[u]));
    }
  };

  int k = first + at.mine;
  fetch(k);
  for (; k < last; k += step) {
    // All loads of a batch are issued before the first is waited for.
    Word<S, kVec> word[kUnroll][kTile];
    A now[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const bool in = k + u * at.share < last, neg = k + u * at.share >= lists.num_pos;
      const S* x = static_cast<const S*>(neg ? p.half[1].x : p.half[0].x) + at.feature +
                   int64_t(col[u]) * (neg ? p.half[1].x_stride : p.half[0].x_stride);
      now[u] = factor[u];
#pragma unroll
      for (int t = 0; t < kTile; ++t) {
        word[u][t] = Word<S, kVec>{};
        if (in && at.feature + int64_t(t) * lanes * kVec < p.width) {
          word[u][t] = read<kFresh>(reinterpret_cast<const Word<S, kVec>*>(x + int64_t(t) * lanes * kVec));
        }
      }
    }
    // The next columns travel while the features at hand arrive.
    fetch(k + step);
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
#pragma unroll
      for (int t = 0; t < kTile; ++t) {
        A value[kVec];
        unpack<S, kVec>(word[u][t], value);
#pragma unroll
        for (int v = 0; v < kVec; ++v) acc[t][v] += now[u] * value[v];
      }
    }
  }
}

// Sum what the groups of a warp, and in block mode its warps, have gathered for one row.
template <class A, int kVec, int kTile>
SBP_DEVICE void sum_sharers(A (&acc)[kTile][kVec], const Place& at, int log_lanes, A* shared) {
  if (at.share > 1) {
#pragma unroll
    for (int t = 0; t < kTile; ++t) {
#pragma unroll
      for (int v = 0; v < kVec; ++v) acc[t][v] = sum_lanes(acc[t][v], 1 << log_lanes, kLanes);
    }
  }
  if (at.share <= kLanes >> log_lanes) return;
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
#pragma unroll
  for (int t = 0; t < kTile; ++t) {
    // Numbers of one index lie side by side: no two lanes of a warp meet in a bank.
#pragma unroll
    for (int v = 0; v < kVec; ++v) shared[(warp * kVec + v) * kLanes + lane] = acc[t][v];
    __syncthreads();
    for (int w = 1; w < kWarps && warp == 0; ++w) {
#pragma unroll
      for (int v = 0; v < kVec; ++v) acc[t][v] += shared[(w * kVec + v) * kLanes + lane];
    }
    __syncthreads();
  }
}

// One block's rows. Every lane stays to the end: shuffles and barriers need all of them.
template <class S, class I, int kVec, int kTile, class Epilogue, bool kFresh>
SBP_DEVICE void row_pass(const SignedSpmmParams<Acc<S>>& p, int64_t block, int tile, Acc<S>* shared) {
  using A = Acc<S>;
  Place at = place_of<kVec, kTile>(p.plan, p.log_lanes, block, tile);
  const A pos_coef = Epilogue::kSums == 1 ? coefficient(p, 1) : A(1);
  const A neg_coef = Epilogue::kSums == 1 ? coefficient(p, 2) : A(1);
  const Lists lists = lists_of(p, at.row, pos_coef, neg_coef);
  at.last = lists.total;
  if (at.chunk >= 0) {
    at.first = __ldg(p.plan.chunk + 3 * at.chunk + 1);
    // A half that is switched off leaves a shorter row than the plan saw.
    const int end = __ldg(p.plan.chunk + 3 * at.chunk + 2);
    at.last = end < lists.total ? end : lists.total;
  }

  A pos_base = pos_coef, neg_base = neg_coef;
  if (at.row >= 0 && p.half[0].row_scale != nullptr) {
    pos_base *= __ldg(static_cast<const A*>(p.half[0].row_scale) + at.row);
  }
  if (at.row >= 0 && p.half[1].row_scale != nullptr) {
    neg_base *= __ldg(static_cast<const A*>(p.half[1].row_scale) + at.row);
  }

  // One sum over both lists, or one sum a list.
  A acc[Epilogue::kSums][kTile][kVec] = {};
  if constexpr (Epilogue::kSums == 1) {
    gather<S, I, kVec, kTile, kFresh>(p, lists, at, at.first, at.last, pos_base, neg_base, acc[0]);
  } else {
    const int middle = lists.num_pos < at.first ? at.first : lists.num_pos < at.last ? lists.num_pos : at.last;
    gather<S, I, kVec, kTile, kFresh>(p, lists, at, at.first, middle, pos_base, neg_base, acc[0]);
    gather<S, I, kVec, kTile, kFresh>(p, lists, at, middle, at.last, pos_base, neg_base, acc[1]);
  }
#pragma unroll
  for (int s = 0; s < Epilogue::kSums; ++s) sum_sharers<A, kVec, kTile>(acc[s], at, p.log_lanes, shared);
  Epilogue::template finish<S, kVec, kTile, kFresh>(p, at, acc, shared);
}

// As many blocks on a multiprocessor as registers allow without spilling: other rows hide a gather's latency.
template <class S, int kVec, int kTile, class Epilogue> constexpr int min_blocks() {
  if (sizeof(S) == 8 || sizeof(Word<S, kVec>) * kTile > 16) return 2;
  if (Epilogue::kSums == 2) return kTile == 1 ? 3 : 2;
  return kTile == 1 ? 4 : 3;
}

template <class S, class I, int kVec, int kTile, class Epilogue>
__global__ void __launch_bounds__(kThreads, (min_blocks<S, kVec, kTile, Epilogue>()))
    signed_spmm_kernel(const __grid_constant__ SignedSpmmParams<Acc<S>> p) {
  SBP_SHARED(Acc<S>, shared);
  row_pass<S, I, kVec, kTile, Epilogue, false>(p, blockIdx.x, blockIdx.y, shared);
}

}  // namespace sbp::device
