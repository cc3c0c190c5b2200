// The CPU implementations of the ops: tensors to structs, rows to threads.
#include <cstring>
#include <string>
#include <tuple>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "isa.h"
#include "tensors.h"

namespace sbp {

Tensor new_output(int64_t rows, int64_t width, ScalarType type) {
  // Straight from the C shim: the dispatcher would take a microsecond, which a small graph feels.
  const int64_t sizes[2] = {rows, width}, strides[2] = {std::max<int64_t>(width, 1), 1};
  const int32_t dtype = type == ScalarType::Double     ? aoti_torch_dtype_float64()
                        : type == ScalarType::Float    ? aoti_torch_dtype_float32()
                        : type == ScalarType::BFloat16 ? aoti_torch_dtype_bfloat16()
                                                       : aoti_torch_dtype_float16();
  AtenTensorHandle handle;
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(2, sizes, strides, dtype, aoti_torch_device_type_cpu(), 0, &handle));
  Tensor out(handle);
#if defined(__linux__)
  constexpr uintptr_t kHugePage = uintptr_t(1) << 21;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(out.mutable_data_ptr());
  const uintptr_t end = begin + uintptr_t(out.numel()) * (type == ScalarType::Double  ? 8
                                                          : type == ScalarType::Float ? 4
                                                                                      : 2);
  const uintptr_t first = (begin + kHugePage - 1) & ~(kHugePage - 1), last = end & ~(kHugePage - 1);
  // Advice only: a kernel that refuses it serves small pages.
  if (first + kHugePage <= last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
  return out;
}

namespace {

Half half_of(const MaybeTensor& rowptr, const MaybeTensor& col, const MaybeTensor& weight, const MaybeTensor& row_scale,
             const MaybeTensor& col_scale, const MaybeTensor& table, const MaybeTensor& group, const Tensor& x,
             double coef) {
  Half half;
  half.rowptr = static_cast<const int64_t*>(pointer(rowptr));
  half.col = pointer(col);
  half.weight = pointer(weight);
  half.row_scale = pointer(row_scale);
  half.col_scale = pointer(col_scale);
  half.table = pointer(table);
  half.group = static_cast<const int64_t*>(pointer(group));
  half.x = x.const_data_ptr();
  half.x_stride = x.stride(0);
  // Features that sit in the second-level cache anyway would only pay for being asked for twice.
  constexpr int64_t kCached = 1 << 20;
  const int64_t bytes = x.numel() * (x.scalar_type() == ScalarType::Double  ? 8
                                     : x.scalar_type() == ScalarType::Float ? 4
                                                                            : 2);
  if (col.has_value() && bytes > kCached) half.prefetch_end = col->numel() - kAhead;
  half.coef = coef;
  return half;
}

// Columns of both halves share one type (Python sees to it); a half without edges has none.
int index_kind(const MaybeTensor& pos_col, const MaybeTensor& neg_col) {
  const MaybeTensor& col = pos_col.has_value() ? pos_col : neg_col;
  return col.has_value() && col->scalar_type() == ScalarType::Long ? 1 : 0;
}

const RowKernels& row_kernels(const Tensor& x, int wide_index) {
  return kernels().table[static_cast<int>(type_of(x))][wide_index];
}

// Elements read and written before row i: gathered rows, and the row itself a few times.
struct RowCost {
  const int64_t* pos;
  const int64_t* neg;
  int64_t width;
  int64_t operator()(int64_t row) const {
    return ((pos ? pos[row] : 0) + (neg ? neg[row] : 0) + 4 * row) * std::max<int64_t>(width, 16);
  }
};

double read_scalar(const MaybeTensor& coef, int i, double otherwise) {
  if (!coef.has_value()) return otherwise;
  return coef->scalar_type() == ScalarType::Double ? static_cast<const double*>(coef->const_data_ptr())[i]
                                                   : static_cast<const float*>(coef->const_data_ptr())[i];
}

// The arguments of SBP_HALF and SBP_SPMM in ops.cpp, which torch unpacks one by one.
#define SBP_HALF_ARGS(name)                                                                                   \
  MaybeTensor name##_rowptr, MaybeTensor name##_col, MaybeTensor name##_weight, MaybeTensor name##_row_scale, \
      MaybeTensor name##_col_scale, MaybeTensor name##_table, MaybeTensor name##_group
#define SBP_HALF_OF(name, x, coef)                                                                                     \
  half_of(name##_rowptr, name##_col, name##_weight, name##_row_scale, name##_col_scale, name##_table, name##_group, x, \
          coef)
#define SBP_SPMM_ARGS                                                                                          \
  Tensor x, MaybeTensor x_neg, MaybeTensor residual, SBP_HALF_ARGS(pos), SBP_HALF_ARGS(neg), MaybeTensor coef, \
      double r, double p, double q, int64_t num_rows
#define SBP_SPMM_PARAMS                                                                                           \
  spmm_params(x, residual, SBP_HALF_OF(pos, x, read_scalar(coef, 1, p)),                                          \
              SBP_HALF_OF(neg, x_neg.has_value() ? *x_neg : x, read_scalar(coef, 2, q)), read_scalar(coef, 0, r), \
              num_rows)

SpmmParams spmm_params(const Tensor& x, const MaybeTensor& residual, const Half& pos, const Half& neg, double r,
                       int64_t num_rows) {
  SpmmParams params;
  // A half whose coefficient is zero is not read.
  if (pos.coef != 0.0) params.half[0] = pos;
  if (neg.coef != 0.0) params.half[1] = neg;
  params.num_rows = num_rows;
  params.width = x.size(1);
  params.r = r;
  if (residual.has_value() && r != 0.0) {
    params.residual = residual->const_data_ptr();
    params.residual_stride = residual->stride(0);
  }
  return params;
}

void run_rows(const SpmmParams& params, void (*rows)(const SpmmParams&, int64_t, int64_t)) {
  parallel_rows(params.num_rows, RowCost{params.half[0].rowptr, params.half[1].rowptr, params.width},
                [&](int64_t begin, int64_t end) { rows(params, begin, end); });
}

Tensor signed_spmm(SBP_SPMM_ARGS) {
  SpmmParams params = SBP_SPMM_PARAMS;
  Tensor y = new_output(num_rows, params.width, x.scalar_type());
  params.y = y.mutable_data_ptr();
  run_rows(params, row_kernels(x, index_kind(pos_col, neg_col)).spmm);
  return y;
}

std::tuple<Tensor, Tensor> signed_spmm_norm(SBP_SPMM_ARGS, double eps) {
  SpmmParams params = SBP_SPMM_PARAMS;
  Tensor y = new_output(num_rows, params.width, x.scalar_type());
  Tensor rstd = torch::stable::new_empty(x, {num_rows}, acc_type(x));
  params.y = y.mutable_data_ptr();
  params.rstd = rstd.mutable_data_ptr();
  params.eps = eps;
  run_rows(params, row_kernels(x, index_kind(pos_col, neg_col)).spmm);
  return {y, rstd};
}

std::tuple<Tensor, Tensor> signed_pair(Tensor x, SBP_HALF_ARGS(pos), SBP_HALF_ARGS(neg), int64_t num_rows) {
  SpmmParams params = spmm_params(x, {}, SBP_HALF_OF(pos, x, 1.0), SBP_HALF_OF(neg, x, 1.0), 0.0, num_rows);
  Tensor y = new_output(num_rows, params.width, x.scalar_type());
  Tensor y_neg = new_output(num_rows, params.width, x.scalar_type());
  params.y = y.mutable_data_ptr();
  params.y_neg = y_neg.mutable_data_ptr();
  run_rows(params, row_kernels(x, index_kind(pos_col, neg_col)).pair);
  return {y, y_neg};
}

Tensor signed_dot(Tensor y, Tensor x, SBP_HALF_ARGS(pos), SBP_HALF_ARGS(neg), MaybeTensor residual) {
  DotParams params;
  params.half[0] = SBP_HALF_OF(pos, x, 1.0);
  params.half[1] = SBP_HALF_OF(neg, x, 1.0);
  params.y = y.const_data_ptr();
  params.y_stride = y.stride(0);
  params.width = x.size(1);
  if (residual.has_value()) {
    params.residual = residual->const_data_ptr();
    params.residual_stride = residual->stride(0);
  }
  const int64_t num_rows = y.size(0);
  Tensor rows = torch::stable::new_empty(x, {num_rows, 3}, ScalarType::Double);
  params.out = static_cast<double*>(rows.mutable_data_ptr());
  const RowKernels& run = row_kernels(x, index_kind(pos_col, neg_col));
  parallel_rows(num_rows, RowCost{params.half[0].rowptr, params.half[1].rowptr, params.width},
                [&](int64_t begin, int64_t end) { run.dot(params, begin, end); });
  // One thread, in row order: the sum does not depend on how rows were shared out.
  double total[3] = {0.0, 0.0, 0.0};
  for (int64_t i = 0; i < 3 * num_rows; ++i) total[i % 3] += params.out[i];
  Tensor out = torch::stable::new_empty(x, {3}, acc_type(x));
  for (int i = 0; i < 3; ++i) {
    if (acc_type(x) == ScalarType::Double)
      static_cast<double*>(out.mutable_data_ptr())[i] = total[i];
    else
      static_cast<float*>(out.mutable_data_ptr())[i] = static_cast<float>(total[i]);
  }
  return out;
}

Tensor edge_dot(Tensor a, Tensor b, Tensor rowptr, Tensor col, MaybeTensor row_scale, MaybeTensor col_scale) {
  EdgeDotParams params;
  params.half = half_of(rowptr, col, {}, row_scale, col_scale, {}, {}, b, 1.0);
  params.a = a.const_data_ptr();
  params.a_stride = a.stride(0);
  params.width = a.size(1);
  Tensor out = torch::stable::new_empty(a, {col.numel()}, acc_type(a));
  params.out = out.mutable_data_ptr();
  const RowKernels& run = row_kernels(a, index_kind(col, {}));
  parallel_rows(a.size(0), RowCost{params.half.rowptr, nullptr, params.width},
                [&](int64_t begin, int64_t end) { run.edge_dot(params, begin, end); });
  return out;
}

template <class A>
void add_segments(const A* partial, const int64_t* group_segptr, A* out, int64_t width, int64_t begin, int64_t end) {
  for (int64_t g = begin; g < end; ++g) {
    A* sum = out + g * width;
    std::memset(sum, 0, sizeof(A) * size_t(width));
    for (int64_t s = group_segptr[g]; s < group_segptr[g + 1]; ++s) {
      for (int64_t k = 0; k < width; ++k) sum[k] += partial[s * width + k];
    }
  }
}

Tensor group_sum(Tensor x, Tensor order, Tensor segptr, Tensor group_segptr) {
  const int64_t width = x.size(1), num_segments = segptr.numel() - 1, num_groups = group_segptr.numel() - 1;
  const Half half = half_of(segptr, order, {}, {}, {}, {}, {}, x, 1.0);
  Tensor partial = new_output(num_segments, width, acc_type(x));
  const RowKernels& run = row_kernels(x, index_kind(order, {}));
  parallel_rows(num_segments, RowCost{half.rowptr, nullptr, width}, [&](int64_t begin, int64_t end) {
    run.segment_sum(half, partial.mutable_data_ptr(), width, begin, end);
  });
  Tensor out = torch::stable::new_empty(x, {num_groups, width}, acc_type(x));
  const auto* offsets = static_cast<const int64_t*>(group_segptr.const_data_ptr());
  parallel_rows(num_groups, RowCost{offsets, nullptr, width}, [&](int64_t begin, int64_t end) {
    if (acc_type(x) == ScalarType::Double) {
      add_segments(static_cast<const double*>(partial.const_data_ptr()), offsets,
                   static_cast<double*>(out.mutable_data_ptr()), width, begin, end);
    } else {
      add_segments(static_cast<const float*>(partial.const_data_ptr()), offsets,
                   static_cast<float*>(out.mutable_data_ptr()), width, begin, end);
    }
  });
  return out;
}

Tensor mix_groups(Tensor block, Tensor sums) {
  const int64_t num_groups = sums.size(0), width = sums.size(1);
  // A row of the block is a sparse row that has every column.
  Tensor every = torch::stable::new_empty(sums, {num_groups}, ScalarType::Long);
  int64_t* column = static_cast<int64_t*>(every.mutable_data_ptr());
  for (int64_t h = 0; h < num_groups; ++h) column[h] = h;
  const int64_t bounds[2] = {0, num_groups};
  Half half = half_of(every, every, block, {}, {}, {}, {}, sums, 1.0);
  half.rowptr = bounds;
  Tensor out = torch::stable::new_empty(sums, {num_groups, width}, acc_type(sums));
  const int64_t size = acc_type(sums) == ScalarType::Double ? 8 : 4;
  const RowKernels& run = row_kernels(sums, 1);
  const auto cost = [&](int64_t row) { return row * num_groups * width; };
  parallel_rows(num_groups, cost, [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g) {
      Half row = half;
      row.weight = static_cast<const char*>(half.weight) + g * num_groups * size;
      run.segment_sum(row, static_cast<char*>(out.mutable_data_ptr()) + g * width * size, width, 0, 1);
    }
  });
  return out;
}

std::string cpu_isa() { return kernels().name; }

}  // namespace
}  // namespace sbp

STABLE_TORCH_LIBRARY_IMPL(sbp, CPU, m) {
  m.impl("signed_spmm", TORCH_BOX(&sbp::signed_spmm));
  m.impl("signed_spmm_norm", TORCH_BOX(&sbp::signed_spmm_norm));
  m.impl("signed_pair", TORCH_BOX(&sbp::signed_pair));
  m.impl("signed_dot", TORCH_BOX(&sbp::signed_dot));
  m.impl("edge_dot", TORCH_BOX(&sbp::edge_dot));
  m.impl("group_sum", TORCH_BOX(&sbp::group_sum));
  m.impl("mix_groups", TORCH_BOX(&sbp::mix_groups));
}

STABLE_TORCH_LIBRARY_IMPL(sbp, CompositeExplicitAutograd, m) { m.impl("cpu_isa", TORCH_BOX(&sbp::cpu_isa)); }
