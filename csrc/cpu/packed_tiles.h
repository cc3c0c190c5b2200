// run_spmm: all rows of a row pass on all threads, in one pass over the features or in packed tiles.
//
// A gather of long rows of x reads more distinct memory than the caches hold. Where rows have many edges, it is cheaper
// to copy a tile of the features of all rows (128 bytes a row) into consecutive memory, which fits the caches, to run
// the pass for this tile, and so on. Each feature is summed in the same order, so results have the same bits.
#pragma once

#include "isa/flush_subnormals.h"
#include "row_ops.h"

namespace sbp {

// Whether the traits of this processor want x, which exceeds the caches, in packed tiles.
bool packs_large(const SpmmParams& params, const Dtype& type);

inline bool packs_tiles(const SpmmParams& params, const Dtype& type) {
  // Only an x that exceeds the caches is prefetched.
  return (params.half[0].prefetch_end > 0 || params.half[1].prefetch_end > 0) && packs_large(params, type);
}

// Run the pass tile by tile, then LayerNorm.
void run_packed_tiles(const SpmmParams& params, const RowKernels& run, const Dtype& type);

// Run f(begin, end) over the rows of a pass on all threads; each flushes subnormals meanwhile if `flush`.
template <class F> void run_rows(const SpmmParams& params, bool flush, const F& f) {
  parallel_rows(params.num_rows, cost_of(params), [&](int64_t begin, int64_t end) {
    const FlushSubnormals flushing(flush);
    f(begin, end);
  });
}

// Linear passes flush subnormals. Rows of any magnitude stay exact with LayerNorm, after which none decays.
inline bool flushes(const SpmmParams& params) { return params.eps < 0; }

// Run run.spmm over all rows, then after(begin, end) for ranges of rows by the thread that has just written them.
template <class F> void run_spmm(const SpmmParams& params, const RowKernels& run, const Dtype& type, const F& after) {
  if (packs_tiles(params, type)) {
    run_packed_tiles(params, run, type);
    return run_rows(params, flushes(params), after);
  }
  run_rows(params, flushes(params), [&](int64_t begin, int64_t end) {
    run.spmm(params, begin, end);
    after(begin, end);
  });
}

}  // namespace sbp
