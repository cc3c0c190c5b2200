// What the CPU implementations of the ops share: arguments to structs, and rows to threads.
#pragma once

#include "../op_args.h"
#include "isa/isa.h"
#include "parallel.h"

#define SBP_MERGED_ARGS                                                                                          \
  const Tensor &rowptr, const Tensor &col, const Tensor &value, const MaybeTensor &coef, bool trusted, double r, \
      double p, double q
#define SBP_MERGED_PARAMS merged_params(args, x, residual, rowptr, col, value, coef, r, p, q)

namespace sbp {

// (r, p, q) of a row pass.
struct Coefficients {
  double r, p, q;
};

// A new matrix; a large one asks for huge pages, whose first touch costs far less.
Tensor new_output(int64_t rows, int64_t width, const Dtype& type);
Tensor new_vector(int64_t size, const Dtype& type);

inline int64_t bytes_of(const Features& x, const Dtype& type) { return x.rows * x.width * type.size; }

// The half as a CPU reads it: with its coefficient, and with prefetches where x does not stay in cache anyway.
inline Half with_coef(Half half, int64_t x_bytes, double coef) {
  // Features that are in or near the second-level cache would only pay for being asked for twice. On an AMD EPYC with
  // 1 MB of it, not asking is up to 1.2 times as fast until the features take 2.5 MB.
  constexpr int64_t kCached = 5 << 19;
  if (x_bytes > kCached) half.prefetch_end = half.num_edges - kAhead;
  half.coef = coef;
  return half;
}

inline const RowKernels& row_kernels(Type type, Listing listing) {
  return kernels().table[static_cast<int>(type)][listing];
}

inline const RowKernels& row_kernels(Type type, bool wide) { return row_kernels(type, wide ? kWide : kNarrow); }

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

// `size` numbers in float32 or float64, whichever the sums run in.
class Scalars {
 public:
  Scalars(Arguments& args, const char* name, const MaybeTensor& values, int64_t size);
  bool given() const { return data_ != nullptr; }
  double operator[](int64_t i) const {
    return doubles_ ? static_cast<const double*>(data_)[i] : static_cast<const float*>(data_)[i];
  }

 private:
  const void* data_ = nullptr;
  bool doubles_ = false;
};

// The three numbers of `coef` where it is given.
Coefficients read_coefficients(Arguments& args, const MaybeTensor& coef, double r, double p, double q);

// r R + p A+ x + q A- x_neg.
SpmmParams spmm_params(const Arguments& args, const Operands& all, const Coefficients& coef);

// Where the pass writes, rows of `type`; a result that no cache keeps goes past them.
void write_to(SpmmParams& params, void* y, const Dtype& type);

// The same where both signs are one list (see merge_signs), as many rows of it as of both halves.
// x is half[0].x.
SpmmParams merged_params(Arguments& args, const Tensor& x, const MaybeTensor& residual, const Tensor& rowptr,
                         const Tensor& col, const Tensor& value, const MaybeTensor& coef, double r, double p, double q);

// Sum the rows that each segment lists, then the segments of each group; both in the accumulation type.
void sum_groups(const RowKernels& run, const Classes& classes, int64_t width, const Dtype& acc, void* partial,
                void* sums);

// out = block @ sums, both in the accumulation type, in an order that does not depend on the number of threads.
void mix(const void* block, const void* sums, void* out, int64_t num_rows, int64_t num_groups, int64_t width,
         const Dtype& acc);

}  // namespace sbp
