// Shared by the CPU implementations of the ops: operands to kernel parameters, new tensors, and the cost of rows.
#pragma once

#include "../operands.h"
#include "isa/cpu_traits.h"
#include "isa/isa.h"
#include "parallel.h"

namespace sbp {

// (r, p, q) of a row pass.
struct Coefficients {
  double r, p, q;
};

// A new matrix. A large one requests huge pages, which cost far fewer page faults.
Tensor new_output(int64_t rows, int64_t width, const Dtype& type);
Tensor new_vector(int64_t size, const Dtype& type);

inline int64_t bytes_of(const Features& x, const Dtype& type) { return x.rows * x.width * type.size; }

// The half with its coefficient, and with prefetches if its x of `x_bytes` exceeds the caches.
inline Half with_coef(Half half, int64_t x_bytes, double coef) {
  const CpuTraits& traits = cpu_traits();
  half.x_bytes = x_bytes;
  half.prefetch_distance = traits.prefetch_distance;
  half.prefetch_to_l1 = traits.prefetch_to == 1;
  half.prefetch_end = x_bytes > traits.prefetch_above ? half.num_edges - traits.prefetch_distance : 0;
  half.coef = coef;
  return half;
}

inline const RowKernels& row_kernels(Type type, EdgeFormat format) {
  return kernels().table[static_cast<int>(type)][format];
}

inline EdgeFormat edge_format(bool int64_columns) { return int64_columns ? kInt64Columns : kInt32Columns; }

// The cost of the rows before row i, in elements read and written: the gathered rows, and 4 times the row itself.
struct RowCost {
  const int64_t* pos;
  const int64_t* neg;
  int64_t width;
  int64_t stride = 1;  // 2: the row pointers of a merged CSR
  int64_t operator()(int64_t row) const {
    return ((pos ? pos[stride * row] : 0) + (neg ? neg[stride * row] : 0) + 4 * row) * std::max<int64_t>(width, 16);
  }
};

inline RowCost cost_of(const SpmmParams& params) {
  return {params.half[0].rowptr, params.half[1].rowptr, params.width, params.merged.start != nullptr ? 2 : 1};
}

// An optional tensor of numbers in float32 or float64.
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

// The three numbers of `coef`, or r, p and q if it is not given.
Coefficients read_coefficients(Arguments& args, const MaybeTensor& coef, double r, double p, double q);

// r R + p A+ x + q A- x_neg.
SpmmParams spmm_params(const Arguments& args, const Operands& all, const Coefficients& coef);

// Let the row pass write rows of `type` to y, with non-temporal stores if y is too large for the cache.
void write_to(SpmmParams& params, void* y, const Dtype& type);

// The arguments of an op on a merged CSR, in the order of its schema from `rowptr` on.
struct MergedArgs {
  Tensor rowptr, col, value;
  MaybeTensor coef;
  bool trusted;
  double r, p, q;
};
inline MergedArgs take_merged(OpStack& stack) {
  return {stack.tensor(), stack.tensor(), stack.tensor(), stack.maybe_tensor(),
          stack.flag(),   stack.number(), stack.number(), stack.number()};
}

// The row pass over a merged CSR, which has two rows for each row of the graph. x is half[0].x.
SpmmParams merged_params(Arguments& args, const Tensor& x, const MaybeTensor& residual, const MergedArgs& in);

// Sum the rows that each segment lists into `partial`, then the segments of each group into `sums`; both have the
// accumulation type.
void run_group_sum(const RowKernels& run, const GroupSegments& groups, int64_t width, const Dtype& acc, void* partial,
                   void* sums);

// out = block @ sums in the accumulation type. The order of the sum does not depend on the number of threads.
void run_mix_groups(const void* block, const void* sums, void* out, int64_t num_rows, int64_t num_groups, int64_t width,
                    const Dtype& acc);

}  // namespace sbp
