// The CPU implementations of the ops that are one row pass, and of signed_dot and edge_dot: they check the arguments,
// allocate the results, and divide the rows among threads.
#include <cmath>
#include <string>
#include <tuple>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "packed_tiles.h"
#include "row_ops.h"

namespace sbp {

Tensor new_output(int64_t rows, int64_t width, const Dtype& type) {
  // The C shim avoids the dispatcher, whose microsecond is measurable on a small graph.
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
  // A failure is harmless: the memory then has small pages.
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
  const int64_t row = params.width * type.size;
  params.y = y;
  params.non_temporal = params.num_rows * row > cpu_traits().non_temporal_above && row % 64 == 0 &&
                        reinterpret_cast<uintptr_t>(y) % 64 == 0;
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
  params.width = params.y_stride = all.x.width;
  params.r = coef.r;
  if (coef.r != 0.0) {
    params.residual = all.residual.data;
    params.residual_stride = all.residual.stride;
  }
  return params;
}

SpmmParams merged_params(Arguments& args, const Tensor& x, const MaybeTensor& residual, const MergedArgs& in) {
  Operands all;
  all.x = args.first("x", x);
  int64_t size = 0;
  Half merged;
  merged.rowptr = args.int64s("rowptr", in.rowptr, {"2*num_rows+1", -1}, &size);
  if (size % 2 == 0) args.refuse("rowptr must have 2*num_rows+1 numbers, got " + std::to_string(size));
  all.num_rows = size / 2;
  if (residual.has_value())
    all.residual = args.features("residual", *residual, {"num_rows", all.num_rows}, all.x.width);
  merged.col = args.vector("col", in.col, kDtypes.int32, {"num_edges", -1}, &merged.num_edges);
  merged.weight = args.vector("value", in.value, args.acc(), {"num_edges", merged.num_edges});
  args.ascends("rowptr", merged.rowptr, size, merged.num_edges);
  args.index_below("col", merged.col, false, merged.num_edges, all.x.rows);
  merged.x = all.x.data;
  merged.x_stride = all.x.stride;
  const Coefficients coef = read_coefficients(args, in.coef, in.r, in.p, in.q);
  SpmmParams params = spmm_params(args, all, coef);
  const double p = coef.p, q = coef.q;
  // Edges of a sign whose coefficient is zero are not read. The sum of a row is multiplied by the coefficient with the
  // larger magnitude, so that no factor of an edge exceeds 1.
  const double common = std::abs(p) >= std::abs(q) ? p : q;
  params.merged.start = p != 0.0 ? merged.rowptr : merged.rowptr + 1;
  params.merged.signs = (p != 0.0) + (q != 0.0);
  params.merged.two_factors = params.merged.signs == 2 && p != q;
  if (params.merged.two_factors) {
    params.merged.factor[0] = p / common;
    params.merged.factor[1] = q / common;
  }
  params.half[0] = with_coef(merged, bytes_of(all.x, args.dtype()), common);
  params.half[1] = Half();
  return params;
}

namespace {

Tensor spmm(SpmmParams& params, const Arguments& args, EdgeFormat format) {
  Tensor y = new_output(params.num_rows, params.width, args.dtype());
  write_to(params, y.mutable_data_ptr(), args.dtype());
  run_spmm(params, row_kernels(args.type(), format), args.dtype(), [](int64_t, int64_t) {});
  return y;
}

std::tuple<Tensor, Tensor> spmm_norm(SpmmParams& params, const Arguments& args, EdgeFormat format, double eps) {
  check_eps(args, eps, false);
  Tensor rstd = new_vector(params.num_rows, args.acc());
  params.rstd = rstd.mutable_data_ptr();
  params.eps = eps;
  return {spmm(params, args, format), rstd};
}

// The parameters of r R + p A+ x + q A- x_neg. The degree bins are checked as on every device, and not read.
SpmmParams read_spmm(Arguments& args, const SpmmArgs& in, const DegreeBinArgs& bins) {
  const SpmmParams params =
      spmm_params(args, read_operands(args, in), read_coefficients(args, in.coef, in.r, in.p, in.q));
  read_degree_bins(args, bins, in.num_rows);
  return params;
}

Tensor signed_spmm(OpStack& stack) {
  const SpmmArgs in = take_spmm(stack);
  const DegreeBinArgs bins = take_degree_bins(stack);
  Arguments args("signed_spmm", stack.flag());
  SpmmParams params = read_spmm(args, in, bins);
  return spmm(params, args, edge_format(args.int64_columns()));
}

std::tuple<Tensor, Tensor> signed_spmm_norm(OpStack& stack) {
  const SpmmArgs in = take_spmm(stack);
  const double eps = stack.number();
  const DegreeBinArgs bins = take_degree_bins(stack);
  Arguments args("signed_spmm_norm", stack.flag());
  SpmmParams params = read_spmm(args, in, bins);
  return spmm_norm(params, args, edge_format(args.int64_columns()), eps);
}

// A merged CSR has fewer arguments to unpack than two halves, which is measurable on small graphs.
Tensor merged_spmm(OpStack& stack) {
  const Tensor x = stack.tensor();
  const MaybeTensor residual = stack.maybe_tensor();
  const MergedArgs in = take_merged(stack);
  Arguments args("merged_spmm", in.trusted);
  SpmmParams params = merged_params(args, x, residual, in);
  return spmm(params, args, kMergedCsr);
}

std::tuple<Tensor, Tensor> merged_spmm_norm(OpStack& stack) {
  const Tensor x = stack.tensor();
  const MaybeTensor residual = stack.maybe_tensor();
  const double eps = stack.number();
  const MergedArgs in = take_merged(stack);
  Arguments args("merged_spmm_norm", in.trusted);
  SpmmParams params = merged_params(args, x, residual, in);
  return spmm_norm(params, args, kMergedCsr, eps);
}

std::tuple<Tensor, Tensor> signed_pair(OpStack& stack) {
  const Tensor x = stack.tensor();
  const HalvesArgs halves = take_halves(stack);
  const int64_t num_rows = stack.integer();
  const DegreeBinArgs bins = take_degree_bins(stack);
  Arguments args("signed_pair", stack.flag());
  SpmmParams params = spmm_params(args, read_operands(args, x, {}, {}, halves, num_rows), {0.0, 1.0, 1.0});
  read_degree_bins(args, bins, num_rows);
  Tensor y = new_output(num_rows, params.width, args.dtype());
  Tensor y_neg = new_output(num_rows, params.width, args.dtype());
  params.y = y.mutable_data_ptr();
  params.y_neg = y_neg.mutable_data_ptr();
  const RowKernels& run = row_kernels(args.type(), edge_format(args.int64_columns()));
  run_rows(params, true, [&](int64_t begin, int64_t end) { run.pair(params, begin, end); });
  return {y, y_neg};
}

template <class A> void sum_triples(const double* rows, int64_t num_rows, void* out) {
  // One thread adds in row order, so the sum does not depend on how rows were divided among threads.
  double total[3] = {0.0, 0.0, 0.0};
  for (int64_t i = 0; i < 3 * num_rows; ++i) total[i % 3] += rows[i];
  for (int i = 0; i < 3; ++i) static_cast<A*>(out)[i] = A(total[i]);
}

Tensor signed_dot(OpStack& stack) {
  const Tensor y = stack.tensor(), x = stack.tensor();
  const HalvesArgs halves = take_halves(stack);
  const MaybeTensor residual = stack.maybe_tensor();
  const DegreeBinArgs bins = take_degree_bins(stack);
  Arguments args("signed_dot", stack.flag());
  const Features rows = args.first("y", y), from = args.features("x", x, {"num_cols", -1}, rows.width);
  const int64_t bytes = bytes_of(from, args.dtype());
  DotParams params;
  params.half[0] = with_coef(read_half(args, halves.pos, from, rows.rows), bytes, 1.0);
  params.half[1] = with_coef(read_half(args, halves.neg, from, rows.rows), bytes, 1.0);
  params.y = rows.data;
  params.y_stride = rows.stride;
  params.width = rows.width;
  if (residual.has_value()) {
    const Features own = args.features("residual", *residual, {"num_rows", rows.rows}, rows.width);
    params.residual = own.data;
    params.residual_stride = own.stride;
  }
  read_degree_bins(args, bins, rows.rows);
  Tensor triples = new_output(rows.rows, 3, kDtypes.float64);
  params.out = static_cast<double*>(triples.mutable_data_ptr());
  const RowKernels& run = row_kernels(args.type(), edge_format(args.int64_columns()));
  parallel_rows(rows.rows, RowCost{params.half[0].rowptr, params.half[1].rowptr, params.width},
                [&](int64_t begin, int64_t end) { run.dot(params, begin, end); });
  Tensor out = new_vector(3, args.acc());
  (args.acc().size == 8 ? sum_triples<double> : sum_triples<float>)(params.out, rows.rows, out.mutable_data_ptr());
  return out;
}

Tensor edge_dot(OpStack& stack) {
  const EdgeDotArgs in = take_edge_dot(stack);
  Arguments args("edge_dot", in.trusted);
  const Features rows = args.first("a", in.a), from = args.features("b", in.b, {"num_cols", -1}, rows.width);
  EdgeDotParams params;
  params.half.x = from.data;
  params.half.x_stride = from.stride;
  read_edges(args, params.half, in.half, rows.rows, from.rows);
  params.half = with_coef(params.half, bytes_of(from, args.dtype()), 1.0);
  params.a = rows.data;
  params.a_stride = rows.stride;
  params.width = rows.width;
  Tensor out = new_vector(params.half.num_edges, args.acc());
  params.out = out.mutable_data_ptr();
  const RowKernels& run = row_kernels(args.type(), edge_format(args.int64_columns()));
  parallel_rows(rows.rows, RowCost{params.half.rowptr, nullptr, params.width},
                [&](int64_t begin, int64_t end) { run.edge_dot(params, begin, end); });
  return out;
}

std::string cpu_isa() { return kernels().name; }
std::string show_cpu_traits() { return describe(cpu_traits()); }

}  // namespace
}  // namespace sbp

STABLE_TORCH_LIBRARY_IMPL(sbp, CPU, m) {
  m.impl("signed_spmm", sbp::boxed<sbp::signed_spmm>);
  m.impl("signed_spmm_norm", sbp::boxed<sbp::signed_spmm_norm>);
  m.impl("merged_spmm", sbp::boxed<sbp::merged_spmm>);
  m.impl("merged_spmm_norm", sbp::boxed<sbp::merged_spmm_norm>);
  m.impl("signed_pair", sbp::boxed<sbp::signed_pair>);
  m.impl("signed_dot", sbp::boxed<sbp::signed_dot>);
  m.impl("edge_dot", sbp::boxed<sbp::edge_dot>);
}

STABLE_TORCH_LIBRARY_IMPL(sbp, CompositeExplicitAutograd, m) {
  m.impl("cpu_isa", TORCH_BOX(&sbp::cpu_isa));
  m.impl("cpu_traits", TORCH_BOX(&sbp::show_cpu_traits));
}
