// The CPU implementations of the ops: tensors to structs, rows to threads.
#include <cmath>
#include <string>
#include <tuple>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

#include "row_ops.h"

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

Tensor new_output(int64_t rows, int64_t width, const Dtype& type) {
  // Straight from the C shim: the dispatcher would take a microsecond, which is measurable on a small graph.
  const int64_t sizes[2] = {rows, width}, strides[2] = {std::max<int64_t>(width, 1), 1};
  AtenTensorHandle handle = nullptr;
  if ((width > 0 && rows > (int64_t(1) << 60) / width) ||
      aoti_torch_empty_strided(2, sizes, strides, type.code, aoti_torch_device_type_cpu(), 0, &handle) !=
          AOTI_TORCH_SUCCESS)
    throw std::runtime_error("sbp: there is no memory for a result of " + std::to_string(rows) + " x " +
                             std::to_string(width) + " " + type.name);
  Tensor out(handle);
#if defined(__linux__)
  constexpr uintptr_t kHugePage = uintptr_t(1) << 21;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(out.mutable_data_ptr());
  const uintptr_t end = begin + uintptr_t(rows * width * type.size);
  const uintptr_t first = (begin + kHugePage - 1) & ~(kHugePage - 1), last = end & ~(kHugePage - 1);
  // Advice only: a kernel that refuses it serves small pages.
  if (first + kHugePage <= last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
  return out;
}

Tensor new_vector(int64_t size, const Dtype& type) {
  const int64_t stride = 1;
  AtenTensorHandle handle = nullptr;
  if (aoti_torch_empty_strided(1, &size, &stride, type.code, aoti_torch_device_type_cpu(), 0, &handle) !=
      AOTI_TORCH_SUCCESS)
    throw std::runtime_error("sbp: there is no memory for " + std::to_string(size) + " numbers of " + type.name);
  return Tensor(handle);
}

void write_to(SpmmParams& params, void* y, const Dtype& type) {
  static const int64_t kept = kept_bytes();
  const int64_t row = params.width * type.size;
  params.y = y;
  params.streams = params.num_rows * row > kept && row % 64 == 0 && reinterpret_cast<uintptr_t>(y) % 64 == 0;
}

Scalars::Scalars(Arguments& args, const char* name, const MaybeTensor& values, int64_t size) {
  if (!values.has_value()) return;
  int32_t code = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(values->get(), &code));
  doubles_ = code == kDtypes.float64.code;
  data_ = args.vector(name, *values, doubles_ ? kDtypes.float64 : kDtypes.float32, {"numbers", size});
}

Coefficients read_coefficients(Arguments& args, const MaybeTensor& coef, double r, double p, double q) {
  const Scalars values(args, "coef", coef, 3);
  if (!values.given()) return {r, p, q};
  return {values[0], values[1], values[2]};
}

SpmmParams spmm_params(const Arguments& args, const Operands& all, const Coefficients& coef) {
  SpmmParams params;
  // A half whose coefficient is zero is not read.
  if (coef.p != 0.0) params.half[0] = with_coef(all.half[0], bytes_of(all.x, args.dtype()), coef.p);
  if (coef.q != 0.0) params.half[1] = with_coef(all.half[1], bytes_of(all.x, args.dtype()), coef.q);
  params.num_rows = all.num_rows;
  params.width = all.x.width;
  params.r = coef.r;
  if (coef.r != 0.0) {
    params.residual = all.residual.data;
    params.residual_stride = all.residual.stride;
  }
  return params;
}

SpmmParams merged_params(Arguments& args, const Tensor& x, const MaybeTensor& residual, const Tensor& rowptr,
                         const Tensor& col, const Tensor& value, const MaybeTensor& coef, double r, double p,
                         double q) {
  Operands all;
  all.x = args.first("x", x);
  int64_t size = 0;
  Half list;
  list.rowptr = args.int64s("rowptr", rowptr, {"2*num_rows+1", -1}, &size);
  if (size % 2 == 0) args.refuse("rowptr must have 2*num_rows+1 numbers, got " + std::to_string(size));
  all.num_rows = size / 2;
  if (residual.has_value())
    all.residual = args.features("residual", *residual, {"num_rows", all.num_rows}, all.x.width);
  list.col = args.vector("col", col, kDtypes.int32, {"num_edges", -1}, &list.num_edges);
  list.weight = args.vector("value", value, args.acc(), {"num_edges", list.num_edges});
  args.ascends("rowptr", list.rowptr, size, list.num_edges);
  args.index_below("col", list.col, false, list.num_edges, all.x.rows);
  list.x = all.x.data;
  list.x_stride = all.x.stride;
  const Coefficients given = read_coefficients(args, coef, r, p, q);
  SpmmParams params = spmm_params(args, all, given);
  p = given.p;
  q = given.q;
  // A sign whose coefficient is zero is not read. The larger one is common to all edges, so no factor exceeds 1.
  const double common = std::abs(p) >= std::abs(q) ? p : q;
  params.merged.start = p != 0.0 ? list.rowptr : list.rowptr + 1;
  params.merged.signs = (p != 0.0) + (q != 0.0);
  params.merged.apart = params.merged.signs == 2 && p != q;
  if (params.merged.apart) {
    params.merged.factor[0] = p / common;
    params.merged.factor[1] = q / common;
  }
  params.half[0] = with_coef(list, bytes_of(all.x, args.dtype()), common);
  params.half[1] = Half();
  return params;
}

namespace {

void run_rows(const SpmmParams& params, void (*rows)(const SpmmParams&, int64_t, int64_t)) {
  parallel_rows(params.num_rows, cost_of(params), [&](int64_t begin, int64_t end) { rows(params, begin, end); });
}

Tensor spmm(SpmmParams& params, const Arguments& args, Listing listing) {
  Tensor y = new_output(params.num_rows, params.width, args.dtype());
  write_to(params, y.mutable_data_ptr(), args.dtype());
  run_rows(params, row_kernels(args.type(), listing).spmm);
  return y;
}

std::tuple<Tensor, Tensor> spmm_norm(SpmmParams& params, const Arguments& args, Listing listing, double eps) {
  check_eps(args, eps, false);
  Tensor rstd = new_vector(params.num_rows, args.acc());
  params.rstd = rstd.mutable_data_ptr();
  params.eps = eps;
  return {spmm(params, args, listing), rstd};
}

Listing listing_of(const Arguments& args) { return args.wide() ? kWide : kNarrow; }

#define SBP_SPMM_PARAMS                                                                                    \
  spmm_params(args, read_operands(args, x, x_neg, residual, SBP_HALF_OF(pos), SBP_HALF_OF(neg), num_rows), \
              read_coefficients(args, coef, r, p, q))
Tensor signed_spmm(SBP_SPMM_ARGS, SBP_PLAN_ARGS, bool trusted) {
  Arguments args("signed_spmm", trusted);
  SpmmParams params = SBP_SPMM_PARAMS;
  read_plan(args, SBP_PLAN_OF, num_rows);
  return spmm(params, args, listing_of(args));
}

std::tuple<Tensor, Tensor> signed_spmm_norm(SBP_SPMM_ARGS, double eps, SBP_PLAN_ARGS, bool trusted) {
  Arguments args("signed_spmm_norm", trusted);
  SpmmParams params = SBP_SPMM_PARAMS;
  read_plan(args, SBP_PLAN_OF, num_rows);
  return spmm_norm(params, args, listing_of(args), eps);
}

// Rows of both signs are one list: fewer arguments to unpack, which is measurable on small graphs.
Tensor merged_spmm(const Tensor& x, const MaybeTensor& residual, SBP_MERGED_ARGS) {
  Arguments args("merged_spmm", trusted);
  SpmmParams params = SBP_MERGED_PARAMS;
  return spmm(params, args, kMerged);
}

std::tuple<Tensor, Tensor> merged_spmm_norm(const Tensor& x, const MaybeTensor& residual, double eps, SBP_MERGED_ARGS) {
  Arguments args("merged_spmm_norm", trusted);
  SpmmParams params = SBP_MERGED_PARAMS;
  return spmm_norm(params, args, kMerged, eps);
}

std::tuple<Tensor, Tensor> signed_pair(const Tensor& x, SBP_HALF_ARGS(pos), SBP_HALF_ARGS(neg), int64_t num_rows,
                                       SBP_PLAN_ARGS, bool trusted) {
  Arguments args("signed_pair", trusted);
  SpmmParams params =
      spmm_params(args, read_operands(args, x, {}, {}, SBP_HALF_OF(pos), SBP_HALF_OF(neg), num_rows), {0.0, 1.0, 1.0});
  read_plan(args, SBP_PLAN_OF, num_rows);
  Tensor y = new_output(num_rows, params.width, args.dtype());
  Tensor y_neg = new_output(num_rows, params.width, args.dtype());
  params.y = y.mutable_data_ptr();
  params.y_neg = y_neg.mutable_data_ptr();
  run_rows(params, row_kernels(args.type(), args.wide()).pair);
  return {y, y_neg};
}

template <class A> void sum_triples(const double* rows, int64_t num_rows, void* out) {
  // One thread, in row order: the sum does not depend on how rows were shared out.
  double total[3] = {0.0, 0.0, 0.0};
  for (int64_t i = 0; i < 3 * num_rows; ++i) total[i % 3] += rows[i];
  for (int i = 0; i < 3; ++i) static_cast<A*>(out)[i] = A(total[i]);
}

Tensor signed_dot(const Tensor& y, const Tensor& x, SBP_HALF_ARGS(pos), SBP_HALF_ARGS(neg), const MaybeTensor& residual,
                  SBP_PLAN_ARGS, bool trusted) {
  Arguments args("signed_dot", trusted);
  const Features rows = args.first("y", y), from = args.features("x", x, {"num_cols", -1}, rows.width);
  const int64_t bytes = bytes_of(from, args.dtype());
  DotParams params;
  params.half[0] = with_coef(read_half(args, SBP_HALF_OF(pos), from, rows.rows), bytes, 1.0);
  params.half[1] = with_coef(read_half(args, SBP_HALF_OF(neg), from, rows.rows), bytes, 1.0);
  params.y = rows.data;
  params.y_stride = rows.stride;
  params.width = rows.width;
  if (residual.has_value()) {
    const Features own = args.features("residual", *residual, {"num_rows", rows.rows}, rows.width);
    params.residual = own.data;
    params.residual_stride = own.stride;
  }
  read_plan(args, SBP_PLAN_OF, rows.rows);
  Tensor triples = new_output(rows.rows, 3, kDtypes.float64);
  params.out = static_cast<double*>(triples.mutable_data_ptr());
  const RowKernels& run = row_kernels(args.type(), args.wide());
  parallel_rows(rows.rows, RowCost{params.half[0].rowptr, params.half[1].rowptr, params.width},
                [&](int64_t begin, int64_t end) { run.dot(params, begin, end); });
  Tensor out = new_vector(3, args.acc());
  (args.acc().size == 8 ? sum_triples<double> : sum_triples<float>)(params.out, rows.rows, out.mutable_data_ptr());
  return out;
}

Tensor edge_dot(const Tensor& a, const Tensor& b, const Tensor& rowptr, const Tensor& col, const MaybeTensor& row_scale,
                const MaybeTensor& col_scale, bool trusted) {
  Arguments args("edge_dot", trusted);
  const Features rows = args.first("a", a), from = args.features("b", b, {"num_cols", -1}, rows.width);
  EdgeDotParams params;
  params.half.x = from.data;
  params.half.x_stride = from.stride;
  read_edges(args, params.half, {"", rowptr, col, {}, row_scale, col_scale, {}, {}}, rows.rows, from.rows);
  params.half = with_coef(params.half, bytes_of(from, args.dtype()), 1.0);
  params.a = rows.data;
  params.a_stride = rows.stride;
  params.width = rows.width;
  Tensor out = new_vector(params.half.num_edges, args.acc());
  params.out = out.mutable_data_ptr();
  const RowKernels& run = row_kernels(args.type(), args.wide());
  parallel_rows(rows.rows, RowCost{params.half.rowptr, nullptr, params.width},
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
