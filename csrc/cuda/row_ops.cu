// The CUDA implementations of the ops: tensors to structs, structs to launches. No reads back, no syncs.
#include "edge_dot.cuh"
#include "hub_rows.cuh"
#include "group_sum.cuh"
#include "instances/row_launch.h"

namespace sbp::device {
namespace {

Tensor signed_spmm(SBP_SPMM_ARGS, SBP_PLAN_ARGS, bool trusted) {
  const Context context(x);
  Arguments args("signed_spmm", trusted);
  const Operands all = SBP_OPERANDS;
  const Coefficients coefs(args, coef, r, p, q);
  const RowPlan plan = plan_of(args, SBP_PLAN_OF, num_rows);
  Tensor y = new_matrix(x, num_rows, all.x.width, x.scalar_type());
  by_type(args.type(), [&](auto type) {
    using S = decltype(type);
    SignedSpmmParams<Acc<S>> params = spmm_params<Acc<S>>(all, coefs, plan);
    params.y = y.mutable_data_ptr();
    const MaybeTensor partial = partial_of(x, params, 1);
    run_rows<S>(context, params, RowOp::kSpmm, args.wide());
  });
  return y;
}

std::tuple<Tensor, Tensor> signed_spmm_norm(SBP_SPMM_ARGS, double eps, SBP_PLAN_ARGS, bool trusted) {
  const Context context(x);
  Arguments args("signed_spmm_norm", trusted);
  const Operands all = SBP_OPERANDS;
  const Coefficients coefs(args, coef, r, p, q);
  const RowPlan plan = plan_of(args, SBP_PLAN_OF, num_rows);
  check_eps(args, eps, false);
  Tensor y = new_matrix(x, num_rows, all.x.width, x.scalar_type());
  Tensor rstd = torch::stable::new_empty(x, {num_rows}, acc_type(args));
  by_type(args.type(), [&](auto type) {
    using S = decltype(type);
    using A = Acc<S>;
    SignedSpmmParams<A> params = spmm_params<A>(all, coefs, plan);
    params.y = y.mutable_data_ptr();
    params.rstd = static_cast<A*>(rstd.mutable_data_ptr());
    params.eps = A(eps);
    const MaybeTensor partial = partial_of(x, params, 1);
    // Rows that do not fit in a warp's registers, and hubs, pass through memory once more.
    const bool fits = params.width <= norm_width<S>(params);
    const int64_t rows_in_memory = fits ? params.plan.num_hubs : num_rows;
    MaybeTensor z;
    if (rows_in_memory > 0) {
      z = new_matrix(x, rows_in_memory, params.width, acc_type(args));
      params.z = static_cast<A*>(z->mutable_data_ptr());
    }
    run_rows<S>(context, params, fits ? RowOp::kNorm : RowOp::kSpmm, args.wide());
    if (!fits) run_norm<S>(context, params, num_rows, false);
  });
  return {y, rstd};
}

std::tuple<Tensor, Tensor> signed_pair(const Tensor& x, SBP_HALF_ARGS(pos), SBP_HALF_ARGS(neg), int64_t num_rows,
                                       SBP_PLAN_ARGS, bool trusted) {
  const Context context(x);
  Arguments args("signed_pair", trusted);
  const Operands all = read_operands(args, x, {}, {}, SBP_HALF_OF(pos), SBP_HALF_OF(neg), num_rows);
  const RowPlan plan = plan_of(args, SBP_PLAN_OF, num_rows);
  Tensor y = new_matrix(x, num_rows, all.x.width, x.scalar_type());
  Tensor y_neg = new_matrix(x, num_rows, all.x.width, x.scalar_type());
  by_type(args.type(), [&](auto type) {
    using S = decltype(type);
    SignedSpmmParams<Acc<S>> params = spmm_params<Acc<S>>(all, Coefficients(args, {}, 0.0, 1.0, 1.0), plan);
    params.y = y.mutable_data_ptr();
    params.y_neg = y_neg.mutable_data_ptr();
    const MaybeTensor partial = partial_of(x, params, 2);
    run_rows<S>(context, params, RowOp::kPair, args.wide());
  });
  return {y, y_neg};
}

Tensor signed_dot(const Tensor& y, const Tensor& x, SBP_HALF_ARGS(pos), SBP_HALF_ARGS(neg), const MaybeTensor& residual,
                  SBP_PLAN_ARGS, bool trusted) {
  const Context context(y);
  Arguments args("signed_dot", trusted);
  Operands all;
  const Features rows = args.first("y", y);
  all.x = args.features("x", x, {"num_cols", -1}, rows.width);
  all.half[0] = read_half(args, SBP_HALF_OF(pos), all.x, rows.rows);
  all.half[1] = read_half(args, SBP_HALF_OF(neg), all.x, rows.rows);
  if (residual.has_value()) all.residual = args.features("residual", *residual, {"num_rows", rows.rows}, rows.width);
  const RowPlan plan = plan_of(args, SBP_PLAN_OF, rows.rows);
  Tensor out = torch::stable::new_empty(x, {3}, acc_type(args));
  by_type(args.type(), [&](auto type) {
    using S = decltype(type);
    using A = Acc<S>;
    SignedSpmmParams<A> params = spmm_params<A>(all, Coefficients(args, {}, 1.0, 1.0, 1.0), plan);
    params.dot_with = rows.data;
    params.dot_stride = rows.stride;
    const dim3 grid = row_grid<S>(params, RowOp::kDot);
    const int64_t blocks = int64_t(grid.x) * grid.y;
    Tensor triples = new_matrix(x, blocks, 3, ScalarType::Double);
    params.dot_out = static_cast<double*>(triples.mutable_data_ptr());
    run_rows<S>(context, params, RowOp::kDot, args.wide());
    context.launch("sum_triples_kernel", sum_triples_kernel<A>, dim3(1), int(sizeof(double)) * kThreads, params.width,
                   static_cast<const double*>(params.dot_out), blocks, static_cast<A*>(out.mutable_data_ptr()));
  });
  return out;
}

template <class S, class I, int kVec>
void launch_edge_dot(const Context& context, const EdgeDotParams& params, int64_t num_rows, int64_t num_edges) {
  const dim3 grid(unsigned(ceil_div(num_edges, kThreads)));
  context.launch("edge_dot_kernel", edge_dot_kernel<S, I, kVec>, grid, 0, params.width, params, num_rows, num_edges,
                 log_lanes_for(params.width, kVec));
}

Tensor edge_dot(const Tensor& a, const Tensor& b, const Tensor& rowptr, const Tensor& col, const MaybeTensor& row_scale,
                const MaybeTensor& col_scale, bool trusted) {
  const Context context(a);
  Arguments args("edge_dot", trusted);
  const Features rows = args.first("a", a), from = args.features("b", b, {"num_cols", -1}, rows.width);
  EdgeDotParams params;
  params.half.x = from.data;
  params.half.x_stride = from.stride;
  read_edges(args, params.half, {"", rowptr, col, {}, row_scale, col_scale, {}, {}}, rows.rows, from.rows);
  params.a = rows.data;
  params.a_stride = rows.stride;
  params.width = rows.width;
  Tensor out = torch::stable::new_empty(a, {params.half.num_edges}, acc_type(args));
  params.out = out.mutable_data_ptr();
  by_type(args.type(), [&](auto type) {
    using S = decltype(type);
    constexpr int kFull = 16 / int(sizeof(S));
    const bool full = aligned<S, kFull>(params.a, params.a_stride, params.width) &&
                      aligned<S, kFull>(params.half.x, params.half.x_stride, params.width);
    const auto run = [&](auto index) {
      using I = decltype(index);
      if (full)
        launch_edge_dot<S, I, kFull>(context, params, rows.rows, params.half.num_edges);
      else
        launch_edge_dot<S, I, 1>(context, params, rows.rows, params.half.num_edges);
    };
    if (args.wide())
      run(int64_t{});
    else
      run(int32_t{});
  });
  return out;
}

// Row s of `out` is the sum of the rows of x that segment s lists; without an order, of x's own rows.
template <class S> void launch_group_sum(const Context& context, const Features& x, const void* order,
                                         const int64_t* segptr, int64_t num_segments, Tensor& out) {
  GroupSumParams params;
  params.x = x.data;
  params.x_stride = x.stride;
  params.segptr = segptr;
  params.order = static_cast<const int32_t*>(order);
  params.out = out.mutable_data_ptr();
  params.width = x.width;
  constexpr int kFull = 16 / int(sizeof(S));
  const auto run = [&](auto* kernel, int vec) {
    const dim3 grid(unsigned(num_segments), unsigned(ceil_div(params.width, kLanes * vec)));
    context.launch("group_sum_kernel", kernel, grid, int(sizeof(Acc<S>)) * kThreads * vec, params.width, params);
  };
  if (aligned<S, kFull>(params.x, params.x_stride, params.width))
    run(group_sum_kernel<S, kFull>, kFull);
  else
    run(group_sum_kernel<S, 1>, 1);
}

Tensor group_sum(const Tensor& x, const Tensor& order, const Tensor& segptr, const Tensor& group_segptr, bool trusted) {
  const Context context(x);
  Arguments args("group_sum", trusted);
  const Features from = args.first("x", x);
  const Classes classes = read_groups(args, "", order, segptr, group_segptr, from, -1);
  if (classes.wide) args.refuse("order must be int32 on CUDA, got " + describe(order));
  Tensor partial = new_matrix(x, classes.num_segments, from.width, acc_type(args));
  Tensor out = new_matrix(x, classes.num_groups, from.width, acc_type(args));
  const Features sums{partial.const_data_ptr(), classes.num_segments, from.width, from.width};
  by_type(args.type(), [&](auto type) {
    using S = decltype(type);
    launch_group_sum<S>(context, from, classes.listed.col, classes.listed.rowptr, classes.num_segments, partial);
    launch_group_sum<Acc<S>>(context, sums, nullptr, classes.group_segptr, classes.num_groups, out);
  });
  return out;
}

Tensor mix_groups(const Tensor& block, const Tensor& sums) {
  const Context context(sums);
  Arguments args("mix_groups", true);
  const Mixing mixing = read_mixing(args, block, sums);
  MixParams params;
  params.block = mixing.block;
  params.sums = mixing.sums;
  params.num_rows = mixing.num_rows;
  params.num_groups = mixing.num_groups;
  params.width = mixing.width;
  Tensor out = new_matrix(sums, params.num_rows, params.width, sums.scalar_type());
  params.out = out.mutable_data_ptr();
  const dim3 grid(unsigned(ceil_div(params.num_rows * params.width, kThreads)));
  if (args.acc().size == 8) {
    context.launch("mix_groups_kernel", mix_groups_kernel<double>, grid, 0, params.width, params);
  } else {
    context.launch("mix_groups_kernel", mix_groups_kernel<float>, grid, 0, params.width, params);
  }
  return out;
}

}  // namespace
}  // namespace sbp::device

SBP_CUDA_LIBRARY(m) {
  m.impl("signed_spmm", TORCH_BOX(&sbp::device::signed_spmm));
  m.impl("signed_spmm_norm", TORCH_BOX(&sbp::device::signed_spmm_norm));
  m.impl("signed_pair", TORCH_BOX(&sbp::device::signed_pair));
  m.impl("signed_dot", TORCH_BOX(&sbp::device::signed_dot));
  m.impl("edge_dot", TORCH_BOX(&sbp::device::edge_dot));
  m.impl("group_sum", TORCH_BOX(&sbp::device::group_sum));
  m.impl("mix_groups", TORCH_BOX(&sbp::device::mix_groups));
}
