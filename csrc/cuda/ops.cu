// The CUDA implementations of the ops: tensors to structs, structs to launches. No reads back, no syncs.
#include "edge_dot.cuh"
#include "finish.cuh"
#include "group_sum.cuh"
#include "ops.h"

namespace sbp::device {
namespace {

Tensor signed_spmm(SBP_SPMM_ARGS, SBP_PLAN_ARGS) {
  const Context context(x);
  Tensor y = new_matrix(x, num_rows, x.size(1), x.scalar_type());
  by_type(x, [&](auto type) {
    using S = decltype(type);
    SignedSpmmParams<Acc<S>> params = SBP_SPMM_PARAMS(S);
    params.y = y.mutable_data_ptr();
    const MaybeTensor partial = partial_of(x, params, 1);
    run_rows<S>(context, params, RowOp::kSpmm, wide_index(pos_col, neg_col));
  });
  return y;
}

std::tuple<Tensor, Tensor> signed_spmm_norm(SBP_SPMM_ARGS, double eps, SBP_PLAN_ARGS) {
  const Context context(x);
  Tensor y = new_matrix(x, num_rows, x.size(1), x.scalar_type());
  Tensor rstd = torch::stable::new_empty(x, {num_rows}, acc_type(x));
  by_type(x, [&](auto type) {
    using S = decltype(type);
    using A = Acc<S>;
    SignedSpmmParams<A> params = SBP_SPMM_PARAMS(S);
    params.y = y.mutable_data_ptr();
    params.rstd = static_cast<A*>(rstd.mutable_data_ptr());
    params.eps = A(eps);
    const MaybeTensor partial = partial_of(x, params, 1);
    // Rows that do not fit in a warp's registers, and hubs, pass through memory once more.
    const bool fits = params.width <= norm_width<S>(params);
    const int64_t rows_in_memory = fits ? params.plan.num_hubs : num_rows;
    MaybeTensor z;
    if (rows_in_memory > 0) {
      z = new_matrix(x, rows_in_memory, params.width, acc_type(x));
      params.z = static_cast<A*>(z->mutable_data_ptr());
    }
    run_rows<S>(context, params, fits ? RowOp::kNorm : RowOp::kSpmm, wide_index(pos_col, neg_col));
    if (!fits) run_norm<S>(context, params, num_rows, false);
  });
  return {y, rstd};
}

std::tuple<Tensor, Tensor> signed_pair(Tensor x, SBP_HALF_ARGS(pos), SBP_HALF_ARGS(neg), int64_t num_rows,
                                       SBP_PLAN_ARGS) {
  const Context context(x);
  Tensor y = new_matrix(x, num_rows, x.size(1), x.scalar_type());
  Tensor y_neg = new_matrix(x, num_rows, x.size(1), x.scalar_type());
  by_type(x, [&](auto type) {
    using S = decltype(type);
    SignedSpmmParams<Acc<S>> params;
    params.half[0] = SBP_HALF_OF(pos, x);
    params.half[1] = SBP_HALF_OF(neg, x);
    params.plan = plan_of(num_rows, chunk, hub, block_rows, warp_rows, light_rows);
    params.width = x.size(1);
    params.y = y.mutable_data_ptr();
    params.y_neg = y_neg.mutable_data_ptr();
    const MaybeTensor partial = partial_of(x, params, 2);
    run_rows<S>(context, params, RowOp::kPair, wide_index(pos_col, neg_col));
  });
  return {y, y_neg};
}

Tensor signed_dot(Tensor y, Tensor x, SBP_HALF_ARGS(pos), SBP_HALF_ARGS(neg), MaybeTensor residual, SBP_PLAN_ARGS) {
  const Context context(x);
  Tensor out = torch::stable::new_empty(x, {3}, acc_type(x));
  by_type(x, [&](auto type) {
    using S = decltype(type);
    using A = Acc<S>;
    SignedSpmmParams<A> params;
    params.half[0] = SBP_HALF_OF(pos, x);
    params.half[1] = SBP_HALF_OF(neg, x);
    params.plan = plan_of(y.size(0), chunk, hub, block_rows, warp_rows, light_rows);
    params.width = x.size(1);
    params.dot_with = y.const_data_ptr();
    params.dot_stride = y.stride(0);
    if (residual.has_value()) {
      params.residual = residual->const_data_ptr();
      params.residual_stride = residual->stride(0);
    }
    const dim3 grid = row_grid<S>(params, RowOp::kDot);
    const int64_t blocks = int64_t(grid.x) * grid.y;
    Tensor triples = new_matrix(x, blocks, 3, ScalarType::Double);
    params.dot_out = static_cast<double*>(triples.mutable_data_ptr());
    run_rows<S>(context, params, RowOp::kDot, wide_index(pos_col, neg_col));
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

Tensor edge_dot(Tensor a, Tensor b, Tensor rowptr, Tensor col, MaybeTensor row_scale, MaybeTensor col_scale) {
  const Context context(a);
  EdgeDotParams params;
  params.half = half_of(rowptr, col, {}, row_scale, col_scale, {}, {}, b);
  params.a = a.const_data_ptr();
  params.a_stride = a.stride(0);
  params.width = a.size(1);
  Tensor out = torch::stable::new_empty(a, {col.numel()}, acc_type(a));
  params.out = out.mutable_data_ptr();
  by_type(a, [&](auto type) {
    using S = decltype(type);
    constexpr int kFull = 16 / int(sizeof(S));
    const bool full = aligned<S, kFull>(params.a, params.a_stride, params.width) &&
                      aligned<S, kFull>(params.half.x, params.half.x_stride, params.width);
    const auto run = [&](auto index) {
      using I = decltype(index);
      if (full)
        launch_edge_dot<S, I, kFull>(context, params, a.size(0), col.numel());
      else
        launch_edge_dot<S, I, 1>(context, params, a.size(0), col.numel());
    };
    if (wide_index(col, {}))
      run(int64_t{});
    else
      run(int32_t{});
  });
  return out;
}

template <class S>
void launch_group_sum(const Context& context, const Tensor& x, const void* order, const Tensor& segptr, Tensor& out) {
  GroupSumParams params;
  params.x = x.const_data_ptr();
  params.x_stride = x.stride(0);
  params.segptr = static_cast<const int64_t*>(segptr.const_data_ptr());
  params.order = static_cast<const int32_t*>(order);
  params.out = out.mutable_data_ptr();
  params.width = x.size(1);
  constexpr int kFull = 16 / int(sizeof(S));
  const auto run = [&](auto* kernel, int vec) {
    const dim3 grid(unsigned(segptr.numel() - 1), unsigned(ceil_div(params.width, kLanes * vec)));
    context.launch("group_sum_kernel", kernel, grid, int(sizeof(Acc<S>)) * kThreads * vec, params.width, params);
  };
  if (aligned<S, kFull>(params.x, params.x_stride, params.width))
    run(group_sum_kernel<S, kFull>, kFull);
  else
    run(group_sum_kernel<S, 1>, 1);
}

Tensor group_sum(Tensor x, Tensor order, Tensor segptr, Tensor group_segptr) {
  const Context context(x);
  if (order.scalar_type() != ScalarType::Int)
    throw std::runtime_error("sbp-kernels: group_sum takes int32 order on CUDA");
  Tensor partial = new_matrix(x, segptr.numel() - 1, x.size(1), acc_type(x));
  Tensor out = new_matrix(x, group_segptr.numel() - 1, x.size(1), acc_type(x));
  by_type(x, [&](auto type) {
    using S = decltype(type);
    launch_group_sum<S>(context, x, order.const_data_ptr(), segptr, partial);
    launch_group_sum<Acc<S>>(context, partial, nullptr, group_segptr, out);
  });
  return out;
}

Tensor mix_groups(Tensor block, Tensor sums) {
  const Context context(sums);
  block = torch::stable::contiguous(block);
  sums = torch::stable::contiguous(sums);
  MixParams params;
  params.block = block.const_data_ptr();
  params.sums = sums.const_data_ptr();
  params.num_rows = block.size(0);
  params.num_groups = sums.size(0);
  params.width = sums.size(1);
  Tensor out = new_matrix(sums, params.num_rows, params.width, sums.scalar_type());
  params.out = out.mutable_data_ptr();
  const dim3 grid(unsigned(ceil_div(params.num_rows * params.width, kThreads)));
  if (sums.scalar_type() == ScalarType::Double) {
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
