// One row pass over a graph, of any epilogue: between ops.cu and the files that instantiate it by type.
#pragma once

#include "../launch.h"

namespace sbp::device {

enum class RowOp { kSpmm, kNorm, kPair, kDot };

// Largest number of features that LayerNorm standardises in registers at this layout; 0: none.
template <class S> int64_t norm_width(const SignedSpmmParams<Acc<S>>& params);

// Number of blocks of the row kernel, for signed_dot's partial sums.
template <class S> dim3 row_grid(const SignedSpmmParams<Acc<S>>& params, RowOp op);

// Launch the row kernel and, where the plan has hubs, the pass that finishes them.
template <class S> void run_rows(const Context& context, SignedSpmmParams<Acc<S>> params, RowOp op, bool wide_index);

// Standardise `num_rows` rows of z; row i is row hub[2 i] of y where hubs are given.
template <class S>
void run_norm(const Context& context, const SignedSpmmParams<Acc<S>>& params, int64_t num_rows, bool by_hub);

}  // namespace sbp::device
