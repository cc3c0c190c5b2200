// Launches of the row pass, declared for the ops and instantiated in this folder once per storage type.
#pragma once

#include "../launch.h"

namespace sbp::device {

enum class RowOp { kSpmm, kNorm, kPair, kDot };

// The largest number of features for which LayerNorm runs in registers with this layout; 0: never.
template <class S> int64_t norm_width(const RowPassParams<Acc<S>>& params);

// The grid of the row pass, whose blocks each store a partial sum of signed_dot.
template <class S> dim3 row_grid(const RowPassParams<Acc<S>>& params, RowOp op);

// Launch the row pass and, if the degree bins have hub rows, the pass that finishes them.
template <class S> void run_rows(const Context& context, RowPassParams<Acc<S>> params, RowOp op, bool int64_columns);

// Standardize `num_rows` rows of z into y; with by_hub, row i of z is row hub[2 i] of y.
template <class S>
void run_norm(const Context& context, const RowPassParams<Acc<S>>& params, int64_t num_rows, bool by_hub);

}  // namespace sbp::device
