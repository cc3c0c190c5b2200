// signed_spmm_steps: one launch where it serves, else a launch a step. No reads back, no syncs.
#include "ops.h"
#include "steps.h"

namespace sbp::device {
namespace {

// Group plan and block of one half, and room for its sums and table.
struct ClassTensors {
  Tensor partial, table;
};

template <class S> ClassTensors classes_of(ClassSums& classes, Half& half, const Tensor& x, const MaybeTensor& order,
                                           const MaybeTensor& segptr, const MaybeTensor& group_segptr,
                                           const MaybeTensor& block) {
  const int64_t segments = segptr->numel() - 1, groups = block->size(0), width = x.size(1);
  ClassTensors made{new_matrix(x, segments, width, acc_type(x)), new_matrix(x, groups, width, acc_type(x))};
  classes.segments.segptr = static_cast<const int64_t*>(segptr->const_data_ptr());
  classes.segments.order = static_cast<const int32_t*>(order->const_data_ptr());
  classes.segments.out = made.partial.mutable_data_ptr();
  classes.segments.width = width;
  classes.group_segptr = static_cast<const int64_t*>(group_segptr->const_data_ptr());
  classes.block = block->const_data_ptr();
  classes.table = made.table.mutable_data_ptr();
  classes.num_segments = int(segments);
  classes.num_groups = int(groups);
  half.table = classes.table;
  return made;
}

// The table of one half, as the cooperative kernel makes it.
template <class S> __global__ void __launch_bounds__(kThreads)
    table_kernel(const __grid_constant__ ClassSums c, int64_t width) {
  make_table<Acc<S>>(c, width, int64_t(blockIdx.x) * kThreads + threadIdx.x, int64_t(gridDim.x) * kThreads);
}

template <class S>
void run_steps_apart(const Context& context, const StepsParams<Acc<S>>& params, bool normalises, bool wide) {
  for (int k = 1; k <= params.pass.num_steps; ++k) {
    SignedSpmmParams<Acc<S>> p = step_params(params, k);
    for (int h = 0; h < 2; ++h) {
      const ClassSums& classes = params.classes[h];
      if (classes.block == nullptr) continue;
      GroupSumParams segments = classes.segments;
      segments.x = p.half[h].x;
      segments.x_stride = p.half[h].x_stride;
      const dim3 grid(unsigned(classes.num_segments), unsigned(ceil_div(p.width, kLanes)));
      context.launch("group_sum_kernel", group_sum_kernel<S, 1>, grid, int(sizeof(Acc<S>)) * kThreads, p.width,
                     segments);
      const dim3 cells(unsigned(ceil_div(classes.num_groups * p.width, kThreads)));
      context.launch("table_kernel", table_kernel<S>, cells, 0, p.width, classes, p.width);
    }
    const bool fits = !normalises || p.width <= norm_width<S>(p);
    run_rows<S>(context, p, normalises && fits ? RowOp::kNorm : RowOp::kSpmm, wide);
    if (!fits)
      run_norm<S>(context, p, p.plan.num_hubs + p.plan.num_block_rows + p.plan.num_warp_rows + p.plan.num_light_rows,
                  false);
  }
}

// x after num_steps steps and, where gamma [num_steps + 1] is given, sum_k gamma_k x_k (else an empty tensor).
std::tuple<Tensor, Tensor> signed_spmm_steps(SBP_STEPS_ARGS) {
  const Context context(x);
  const int64_t width = x.size(1);
  Tensor y = new_matrix(x, num_rows, width, x.scalar_type());
  Tensor other = new_matrix(x, num_steps > 1 ? num_rows : 0, width, x.scalar_type());
  Tensor total_out = new_matrix(x, gamma.has_value() ? num_rows : 0, width, x.scalar_type());
  Tensor total = new_matrix(x, gamma.has_value() ? num_rows : 0, width, acc_type(x));
  by_type(x, [&](auto type) {
    using S = decltype(type);
    using A = Acc<S>;
    StepsParams<A> params;
    SignedSpmmParams<A>& pass = params.pass;
    pass = SBP_SPMM_PARAMS(S);
    pass.num_steps = int(num_steps);
    pass.eps = A(eps);
    pass.gamma = static_cast<const A*>(pointer(gamma));
    pass.total = static_cast<A*>(total.mutable_data_ptr());
    pass.total_out = total_out.mutable_data_ptr();
    pass.y = y.mutable_data_ptr();
    params.own_residual = own_residual;
    params.buffer[num_steps % 2] = pass.y;
    params.buffer[(num_steps + 1) % 2] = other.mutable_data_ptr();
    std::optional<ClassTensors> made[2];
    if (pos_block.has_value())
      made[0] = classes_of<S>(params.classes[0], pass.half[0], x, pos_order, pos_segptr, pos_group_segptr, pos_block);
    if (neg_block.has_value())
      made[1] = classes_of<S>(params.classes[1], pass.half[1], x, neg_order, neg_segptr, neg_group_segptr, neg_block);
    const MaybeTensor partial = partial_of(x, pass, 1);
    const bool normalises = eps >= 0, wide = wide_index(pos_col, neg_col);
    Tensor rstd = new_matrix(x, normalises ? num_rows : 0, 1, acc_type(x));
    if (normalises) pass.rstd = static_cast<A*>(rstd.mutable_data_ptr());
    if (run_steps_at_once<S>(context, params, normalises, wide)) return;
    MaybeTensor z;
    if (normalises) {
      const int64_t rows = width <= norm_width<S>(pass) ? pass.plan.num_hubs : num_rows;
      z = new_matrix(x, rows, width, acc_type(x));
      if (rows > 0) pass.z = static_cast<A*>(z->mutable_data_ptr());
    }
    run_steps_apart<S>(context, params, normalises, wide);
  });
  return {y, total_out};
}

}  // namespace
}  // namespace sbp::device

SBP_CUDA_LIBRARY(m) { m.impl("signed_spmm_steps", TORCH_BOX(&sbp::device::signed_spmm_steps)); }
