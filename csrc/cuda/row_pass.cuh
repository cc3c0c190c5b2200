// The row pass: y = r R + coef+ A+ x + coef- A- x' of every row, with both adjacencies of a row in one pass.
//
// Work: a group of 2^log_lanes lanes covers the features of a row. The degree bin of a row decides its threads: light
// rows have a group each, others a warp, whose groups share the edges, then a block, and each chunk of a hub row has a
// block. Groups and warps that share a row add their sums in a fixed order. An epilogue (epilogue.cuh) then adds
// residual and tables in registers and stores once; hub_rows.cuh finishes hub rows.
//
// Memory: a row has one owner, and no sum uses an atomic. Threads exchange data by shuffles of full warps and, between
// the warps of a block, by shared memory between two __syncthreads(). Graph and coefficients are read through the
// read-only path (ld.global.nc), as are features, except in the multi-step kernel (kFresh), which reads what other
// blocks wrote in the same launch. The order of each sum depends on the graph and its degree bins only, so results
// repeat bit for bit.
#pragma once

#include "device.cuh"
#include "params.cuh"

namespace sbp::device {

// Which row a lane works on, and which of its edges and features.
struct Place {
  int64_t row = -1;         // < 0: none
  int64_t feature = 0;      // of the lane's first vector
  int first = 0, last = 0;  // edges of the row, A+ then A-
  int share = 1, mine = 0;  // every share-th edge, beginning with edge `mine`
  int chunk = -1;           // >= 0: a chunk of a hub row
  bool owner = true;        // stores the sum of all lanes that share the row
};

struct EdgeRanges {
  int64_t pos = 0, neg = 0;  // edge k of the row is pos + k, or neg + k from num_pos on
  int num_pos = 0, total = 0;
};

template <class A> SBP_DEVICE A coefficient(const RowPassParams<A>& p, int i) {
  return p.coef_tensor == nullptr ? p.coef[i] : __ldg(p.coef_tensor + i);
}

// The edges of a row. A half whose coefficient is zero is not read.
template <class A> SBP_DEVICE EdgeRanges edges_of(const RowPassParams<A>& p, int64_t row, A pos_coef, A neg_coef) {
  EdgeRanges edges;
  if (row < 0) return edges;
  if (p.half[0].rowptr != nullptr && pos_coef != A(0)) {
    edges.pos = __ldg(p.half[0].rowptr + row);
    edges.num_pos = int(__ldg(p.half[0].rowptr + row + 1) - edges.pos);
  }
  edges.total = edges.num_pos;
  if (p.half[1].rowptr != nullptr && neg_coef != A(0)) {
    const int64_t begin = __ldg(p.half[1].rowptr + row);
    edges.total += int(__ldg(p.half[1].rowptr + row + 1) - begin);
    edges.neg = begin - edges.num_pos;
  }
  return edges;
}

SBP_DEVICE int64_t row_at(const int32_t* rows, int64_t i) { return rows == nullptr ? i : int64_t(__ldg(rows + i)); }

// The row of this lane in the given block: blocks of chunks come first, then the bins from large to small degrees.
template <int kVec, int kTile>
SBP_DEVICE Place place_of(const DegreeBins& bins, int log_lanes, int64_t block, int tile) {
  const int lane = threadIdx.x % kLanes, warp = threadIdx.x / kLanes;
  const int lanes = 1 << log_lanes, groups = kLanes >> log_lanes, group = lane >> log_lanes;
  Place at;
  at.feature = (int64_t(tile) * kTile * lanes + (lane & (lanes - 1))) * kVec;
  const int64_t num_block_items = int64_t(bins.num_chunks) + bins.num_block_rows;
  const int64_t num_warp_blocks = (bins.num_warp_rows + kWarps - 1) / kWarps;
  if (block < num_block_items) {
    if (block < bins.num_chunks) {
      at.chunk = int(block);
      at.row = __ldg(bins.chunk + 3 * block);
    } else {
      at.row = row_at(bins.block_rows, block - bins.num_chunks);
    }
    at.share = groups * kWarps;
    at.mine = warp * groups + group;
    at.owner = warp == 0 && group == 0;
  } else if (block < num_block_items + num_warp_blocks) {
    const int64_t item = (block - num_block_items) * kWarps + warp;
    if (item < bins.num_warp_rows) at.row = row_at(bins.warp_rows, item);
    at.share = groups;
    at.mine = group;
    at.owner = group == 0;
  } else {
    const int64_t item = ((block - num_block_items - num_warp_blocks) * kWarps + warp) * groups + group;
    if (item < bins.num_light_rows) at.row = row_at(bins.light_rows, item);
  }
  return at;
}

// Add factor_e x_e over the edges of the lane in [first, last), with kUnroll rows in flight while the columns of the
// next batch are loaded.
template <class S, class I, int kVec, int kTile, bool kFresh>
SBP_DEVICE void gather(const RowPassParams<Acc<S>>& p, const EdgeRanges& edges, const Place& at, int first, int last,
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
      const bool neg = k >= edges.num_pos;
      const int64_t edge = (neg ? edges.neg : edges.pos) + k;
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
    // All loads of a batch are issued before the first result is used.
    Word<S, kVec> word[kUnroll][kTile];
    A now[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const bool in = k + u * at.share < last, neg = k + u * at.share >= edges.num_pos;
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
    // The loads of the next columns overlap with those of the features.
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

// Add the sums of the groups of a warp and, if a block shares the row, of its warps.
template <class A, int kVec, int kTile>
SBP_DEVICE void sum_shares(A (&acc)[kTile][kVec], const Place& at, int log_lanes, A* shared) {
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
    // The lanes of a warp write adjacent numbers, so there are no bank conflicts.
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

// The row pass of one block. No lane returns early, because shuffles and barriers need all lanes.
template <class S, class I, int kVec, int kTile, class Epilogue, bool kFresh>
SBP_DEVICE void row_pass(const RowPassParams<Acc<S>>& p, int64_t block, int tile, Acc<S>* shared) {
  using A = Acc<S>;
  Place at = place_of<kVec, kTile>(p.bins, p.log_lanes, block, tile);
  const A pos_coef = Epilogue::kSums == 1 ? coefficient(p, 1) : A(1);
  const A neg_coef = Epilogue::kSums == 1 ? coefficient(p, 2) : A(1);
  const EdgeRanges edges = edges_of(p, at.row, pos_coef, neg_coef);
  at.last = edges.total;
  if (at.chunk >= 0) {
    at.first = __ldg(p.bins.chunk + 3 * at.chunk + 1);
    // A half whose coefficient is zero makes the row shorter than the chunks assume.
    const int end = __ldg(p.bins.chunk + 3 * at.chunk + 2);
    at.last = end < edges.total ? end : edges.total;
  }

  A pos_base = pos_coef, neg_base = neg_coef;
  if (at.row >= 0 && p.half[0].row_scale != nullptr) {
    pos_base *= __ldg(static_cast<const A*>(p.half[0].row_scale) + at.row);
  }
  if (at.row >= 0 && p.half[1].row_scale != nullptr) {
    neg_base *= __ldg(static_cast<const A*>(p.half[1].row_scale) + at.row);
  }

  // One sum over both halves, or one sum per half.
  A acc[Epilogue::kSums][kTile][kVec] = {};
  if constexpr (Epilogue::kSums == 1) {
    gather<S, I, kVec, kTile, kFresh>(p, edges, at, at.first, at.last, pos_base, neg_base, acc[0]);
  } else {
    const int middle = edges.num_pos < at.first ? at.first : edges.num_pos < at.last ? edges.num_pos : at.last;
    gather<S, I, kVec, kTile, kFresh>(p, edges, at, at.first, middle, pos_base, neg_base, acc[0]);
    gather<S, I, kVec, kTile, kFresh>(p, edges, at, middle, at.last, pos_base, neg_base, acc[1]);
  }
#pragma unroll
  for (int s = 0; s < Epilogue::kSums; ++s) sum_shares<A, kVec, kTile>(acc[s], at, p.log_lanes, shared);
  Epilogue::template finish<S, kVec, kTile, kFresh>(p, at, acc, shared);
}

// The most blocks per multiprocessor that registers allow without spills: other rows hide the latency of a gather.
template <class S, int kVec, int kTile, class Epilogue> constexpr int min_blocks() {
  if (sizeof(S) == 8 || sizeof(Word<S, kVec>) * kTile > 16) return 2;
  if (Epilogue::kSums == 2) return kTile == 1 ? 3 : 2;
  return kTile == 1 ? 4 : 3;
}

template <class S, class I, int kVec, int kTile, class Epilogue>
__global__ void __launch_bounds__(kThreads, (min_blocks<S, kVec, kTile, Epilogue>()))
    row_pass_kernel(const __grid_constant__ RowPassParams<Acc<S>> p) {
  SBP_SHARED(Acc<S>, shared);
  row_pass<S, I, kVec, kTile, Epilogue, false>(p, blockIdx.x, blockIdx.y, shared);
}

}  // namespace sbp::device
