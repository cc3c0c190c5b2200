// What the CPU implementations of the ops share: arguments to structs, and rows to threads.
#pragma once

#include "isa.h"
#include "parallel.h"

#define SBP_SPMM_PARAMS                                                                                          \
  spmm_params(x, residual, SBP_HALF_OF(pos, x), SBP_HALF_OF(neg, x_neg.has_value() ? *x_neg : x), coef, r, p, q, \
              num_rows)

#define SBP_MERGED_ARGS Tensor rowptr, Tensor col, Tensor value, MaybeTensor coef, double r, double p, double q
#define SBP_MERGED_PARAMS merged_params(x, residual, rowptr, col, value, coef, r, p, q)

namespace sbp {

// The half as a CPU reads it: with its coefficient, and with prefetches where x does not stay in cache anyway.
inline Half with_coef(Half half, const Tensor& x, double coef) {
  // Features that are in or near the second-level cache would only pay for being asked for twice. On an AMD EPYC with
  // 1 MB of it, not asking is up to 1.2 times as fast until the features take 2.5 MB.
  constexpr int64_t kCached = 5 << 19;
  if (x.numel() * size_of(x.scalar_type()) > kCached) half.prefetch_end = half.num_edges - kAhead;
  half.coef = coef;
  return half;
}

inline const RowKernels& row_kernels(const Tensor& x, Listing listing) {
  return kernels().table[static_cast<int>(type_of(x))][listing];
}

inline const RowKernels& row_kernels(const Tensor& x, bool wide) { return row_kernels(x, wide ? kWide : kNarrow); }

// Elements read and written before row i: gathered rows, and the row itself a few times.
struct RowCost {
  const int64_t* pos;
  const int64_t* neg;
  int64_t width;
  int64_t stride = 1;  // 2: row pointers of both signs in turn
  int64_t operator()(int64_t row) const {
    return ((pos ? pos[stride * row] : 0) + (neg ? neg[stride * row] : 0) + 4 * row) * std::max<int64_t>(width, 16);
  }
};

inline RowCost cost_of(const SpmmParams& params) {
  return {params.half[0].rowptr, params.half[1].rowptr, params.width, params.merged.start != nullptr ? 2 : 1};
}

inline double read_scalar(const MaybeTensor& values, int64_t i, double otherwise) {
  if (!values.has_value()) return otherwise;
  return values->scalar_type() == ScalarType::Double ? static_cast<const double*>(values->const_data_ptr())[i]
                                                     : static_cast<const float*>(values->const_data_ptr())[i];
}

// r R + p A+ x + q A- x_neg; (r, p, q) come from `coef` where it is given.
SpmmParams spmm_params(const Tensor& x, const MaybeTensor& residual, const Half& pos, const Half& neg,
                       const MaybeTensor& coef, double r, double p, double q, int64_t num_rows);

// Where the pass writes, rows of x's type; a result that no cache keeps goes past them.
void write_to(SpmmParams& params, void* y, const Tensor& x);

// The same where both signs are one list (see merge_signs), as many rows of it as of both halves.
SpmmParams merged_params(const Tensor& x, const MaybeTensor& residual, const Tensor& rowptr, const Tensor& col,
                         const Tensor& value, const MaybeTensor& coef, double r, double p, double q);

// Sum the rows that each segment lists (`listed`: order and segptr), then the segments of each group.
void sum_groups(const RowKernels& run, const Half& listed, const int64_t* group_segptr, int64_t num_segments,
                int64_t num_groups, int64_t width, ScalarType acc, void* partial, void* sums);

// out = block @ sums, both in the accumulation type, in an order that does not depend on the number of threads.
void mix(const void* block, const void* sums, void* out, int64_t num_rows, int64_t num_groups, int64_t width,
         ScalarType acc);

}  // namespace sbp
