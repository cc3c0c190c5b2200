// The CPU implementations of the ops: tensors to structs, rows to threads.
#include <cmath>
#include <string>
#include <tuple>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

#include "ops.h"

namespace sbp {

namespace {

// A result larger than this part of the last cache goes past it: with all else that a step reads, it would not be found
// there again. Measured on an AMD EPYC with 32 MB, loops over several steps included: from 5 MB on faster, at 3 MB
// slower.
int64_t kept_bytes() {
  long size = 0;
#if defined(_SC_LEVEL3_CACHE_SIZE)
  size = sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
  return (size > 0 ? int64_t(size) : int64_t(32) << 20) / 8;
}

}  // namespace

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
  const uintptr_t end = begin + uintptr_t(out.numel() * size_of(type));
  const uintptr_t first = (begin + kHugePage - 1) & ~(kHugePage - 1), last = end & ~(kHugePage - 1);
  // Advice only: a kernel that refuses it serves small pages.
  if (first + kHugePage <= last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
  return out;
}

void write_to(SpmmParams& params, void* y, const Tensor& x) {
  static const int64_t kept = kept_bytes();
  const int64_t row = params.width * size_of(x.scalar_type());
  params.y = y;
  params.streams = params.num_rows * row > kept && row % 64 == 0 && reinterpret_cast<uintptr_t>(y) % 64 == 0;
}

SpmmParams spmm_params(const Tensor& x, const MaybeTensor& residual, const Half& pos, const Half& neg,
                       const MaybeTensor& coef, double r, double p, double q, int64_t num_rows) {
  SpmmParams params;
  r = read_scalar(coef, 0, r);
  p = read_scalar(coef, 1, p);
  q = read_scalar(coef, 2, q);
  // A half whose coefficient is zero is not read.
  if (p != 0.0) params.half[0] = with_coef(pos, x, p);
  if (q != 0.0) params.half[1] = with_coef(neg, x, q);
  params.num_rows = num_rows;
  params.width = x.size(1);
  params.r = r;
  if (residual.has_value() && r != 0.0) {
    params.residual = residual->const_data_ptr();
    params.residual_stride = residual->stride(0);
  }
  return params;
}

SpmmParams merged_params(const Tensor& x, const MaybeTensor& residual, const Tensor& rowptr, const Tensor& col,
                         const Tensor& value, const MaybeTensor& coef, double r, double p, double q) {
  SpmmParams params = spmm_params(x, residual, {}, {}, coef, r, p, q, rowptr.numel() / 2);
  p = params.half[0].coef;
  q = params.half[1].coef;
  const Half list = half_of(rowptr, col, value, {}, {}, {}, {}, x);
  // A sign whose coefficient is zero is not read. The stronger one's is common to all edges, so no factor exceeds 1.
  const double common = std::abs(p) >= std::abs(q) ? p : q;
  params.merged.start = p != 0.0 ? list.rowptr : list.rowptr + 1;
  params.merged.signs = (p != 0.0) + (q != 0.0);
  params.merged.apart = params.merged.signs == 2 && p != q;
  if (params.merged.apart) {
    params.merged.factor[0] = p / common;
    params.merged.factor[1] = q / common;
  }
  params.half[0] = with_coef(list, x, common);
  return params;
}

namespace {

void run_rows(const SpmmParams& params, void (*rows)(const SpmmParams&, int64_t, int64_t)) {
  parallel_rows(params.num_rows, cost_of(params), [&](int64_t begin, int64_t end) { rows(params, begin, end); });
}

Tensor spmm(SpmmParams params, const Tensor& x, const RowKernels& run) {
  Tensor y = new_output(params.num_rows, params.width, x.scalar_type());
  write_to(params, y.mutable_data_ptr(), x);
  run_rows(params, run.spmm);
  return y;
}

std::tuple<Tensor, Tensor> spmm_norm(SpmmParams params, const Tensor& x, const RowKernels& run, double eps) {
  Tensor rstd = torch::stable::new_empty(x, {params.num_rows}, acc_type(x));
  params.rstd = rstd.mutable_data_ptr();
  params.eps = eps;
  return {spmm(params, x, run), rstd};
}

Tensor signed_spmm(SBP_SPMM_ARGS, SBP_PLAN_ARGS) {
  return spmm(SBP_SPMM_PARAMS, x, row_kernels(x, wide_index(pos_col, neg_col)));
}

std::tuple<Tensor, Tensor> signed_spmm_norm(SBP_SPMM_ARGS, double eps, SBP_PLAN_ARGS) {
  return spmm_norm(SBP_SPMM_PARAMS, x, row_kernels(x, wide_index(pos_col, neg_col)), eps);
}

// Rows of both signs are one list: fewer arguments to unpack, as small graphs feel each of them.
Tensor merged_spmm(Tensor x, MaybeTensor residual, SBP_MERGED_ARGS) {
  return spmm(SBP_MERGED_PARAMS, x, row_kernels(x, kMerged));
}

std::tuple<Tensor, Tensor> merged_spmm_norm(Tensor x, MaybeTensor residual, double eps, SBP_MERGED_ARGS) {
  return spmm_norm(SBP_MERGED_PARAMS, x, row_kernels(x, kMerged), eps);
}

std::tuple<Tensor, Tensor> signed_pair(Tensor x, SBP_HALF_ARGS(pos), SBP_HALF_ARGS(neg), int64_t num_rows,
                                       SBP_PLAN_ARGS) {
  SpmmParams params = spmm_params(x, {}, SBP_HALF_OF(pos, x), SBP_HALF_OF(neg, x), {}, 0.0, 1.0, 1.0, num_rows);
  Tensor y = new_output(num_rows, params.width, x.scalar_type());
  Tensor y_neg = new_output(num_rows, params.width, x.scalar_type());
  params.y = y.mutable_data_ptr();
  params.y_neg = y_neg.mutable_data_ptr();
  run_rows(params, row_kernels(x, wide_index(pos_col, neg_col)).pair);
  return {y, y_neg};
}

Tensor signed_dot(Tensor y, Tensor x, SBP_HALF_ARGS(pos), SBP_HALF_ARGS(neg), MaybeTensor residual, SBP_PLAN_ARGS) {
  DotParams params;
  params.half[0] = with_coef(SBP_HALF_OF(pos, x), x, 1.0);
  params.half[1] = with_coef(SBP_HALF_OF(neg, x), x, 1.0);
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
  const RowKernels& run = row_kernels(x, wide_index(pos_col, neg_col));
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
  params.half = with_coef(half_of(rowptr, col, {}, row_scale, col_scale, {}, {}, b), b, 1.0);
  params.a = a.const_data_ptr();
  params.a_stride = a.stride(0);
  params.width = a.size(1);
  Tensor out = torch::stable::new_empty(a, {col.numel()}, acc_type(a));
  params.out = out.mutable_data_ptr();
  const RowKernels& run = row_kernels(a, wide_index(col, {}));
  parallel_rows(a.size(0), RowCost{params.half.rowptr, nullptr, params.width},
                [&](int64_t begin, int64_t end) { run.edge_dot(params, begin, end); });
  return out;
}

std::string cpu_isa() { return kernels().name; }

}  // namespace
}  // namespace sbp

STABLE_TORCH_LIBRARY_IMPL(sbp, CPU, m) {
  m.impl("signed_spmm", TORCH_BOX(&sbp::signed_spmm));
  m.impl("signed_spmm_norm", TORCH_BOX(&sbp::signed_spmm_norm));
  m.impl("merged_spmm", TORCH_BOX(&sbp::merged_spmm));
  m.impl("merged_spmm_norm", TORCH_BOX(&sbp::merged_spmm_norm));
  m.impl("signed_pair", TORCH_BOX(&sbp::signed_pair));
  m.impl("signed_dot", TORCH_BOX(&sbp::signed_dot));
  m.impl("edge_dot", TORCH_BOX(&sbp::edge_dot));
}

STABLE_TORCH_LIBRARY_IMPL(sbp, CompositeExplicitAutograd, m) { m.impl("cpu_isa", TORCH_BOX(&sbp::cpu_isa)); }
