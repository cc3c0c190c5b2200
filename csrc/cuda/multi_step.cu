// signed_spmm_steps: one launch where it serves, else a launch a step. No reads back, no syncs.
#include "instances/row_launch.h"
#include "instances/multi_step_launch.h"

namespace sbp::device {
namespace {

// Room for the sums and the table of one half's class block.
struct ClassRoom {
  Tensor partial, table;
};

ClassRoom classes_of(ClassSums& classes, Half& half, const Classes& given, const Tensor& x, int64_t width,
                     ScalarType acc) {
  ClassRoom made{new_matrix(x, given.num_segments, width, acc), new_matrix(x, given.num_groups, width, acc)};
  classes.segments.segptr = given.listed.rowptr;
  classes.segments.order = static_cast<const int32_t*>(given.listed.col);
  classes.segments.out = made.partial.mutable_data_ptr();
  classes.segments.width = width;
  classes.group_segptr = given.group_segptr;
  classes.block = given.block;
  classes.table = made.table.mutable_data_ptr();
  classes.num_segments = int(given.num_segments);
  classes.num_groups = int(given.num_groups);
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
  Arguments args("signed_spmm_steps", trusted);
  const ClassTensors pos_classes = SBP_CLASSES_OF(pos), neg_classes = SBP_CLASSES_OF(neg);
  const Operands all =
      read_operands(args, x, x_neg, residual, SBP_HALF_OF(pos), SBP_HALF_OF(neg), num_rows, &pos_classes, &neg_classes);
  const Coefficients coefs(args, coef, r, p, q);
  const RowPlan plan = plan_of(args, SBP_PLAN_OF, num_rows);
  check_eps(args, eps, true);
  check_steps(args, num_steps, num_rows, all.x.rows);
  const void* gammas = args.vector("gamma", gamma, args.acc(), {"num_steps+1", num_steps + 1});
  for (const Classes& classes : all.classes) {
    if (classes.num_segments > INT32_MAX) args.refuse("segptr must have at most 2147483647 segments on CUDA");
  }
  const int64_t width = all.x.width;
  Tensor y = new_matrix(x, num_rows, width, x.scalar_type());
  Tensor other = new_matrix(x, num_steps > 1 ? num_rows : 0, width, x.scalar_type());
  Tensor total_out = new_matrix(x, gamma.has_value() ? num_rows : 0, width, x.scalar_type());
  Tensor total = new_matrix(x, gamma.has_value() ? num_rows : 0, width, acc_type(args));
  by_type(args.type(), [&](auto type) {
    using S = decltype(type);
    using A = Acc<S>;
    StepsParams<A> params;
    SignedSpmmParams<A>& pass = params.pass;
    pass = spmm_params<A>(all, coefs, plan);
    pass.num_steps = int(num_steps);
    pass.eps = A(eps);
    pass.gamma = static_cast<const A*>(gammas);
    pass.total = static_cast<A*>(total.mutable_data_ptr());
    pass.total_out = total_out.mutable_data_ptr();
    pass.y = y.mutable_data_ptr();
    params.own_residual = own_residual;
    params.buffer[num_steps % 2] = pass.y;
    params.buffer[(num_steps + 1) % 2] = other.mutable_data_ptr();
    std::optional<ClassRoom> made[2];
    for (int h = 0; h < 2; ++h) {
      if (all.classes[h].block != nullptr)
        made[h] = classes_of(params.classes[h], pass.half[h], all.classes[h], x, width, acc_type(args));
    }
    const MaybeTensor partial = partial_of(x, pass, 1);
    const bool normalises = eps >= 0, wide = args.wide();
    Tensor rstd = new_matrix(x, normalises ? num_rows : 0, 1, acc_type(args));
    if (normalises) pass.rstd = static_cast<A*>(rstd.mutable_data_ptr());
    if (run_steps_at_once<S>(context, params, normalises, wide)) return;
    MaybeTensor z;
    if (normalises) {
      const int64_t rows = width <= norm_width<S>(pass) ? pass.plan.num_hubs : num_rows;
      z = new_matrix(x, rows, width, acc_type(args));
      if (rows > 0) pass.z = static_cast<A*>(z->mutable_data_ptr());
    }
    run_steps_apart<S>(context, params, normalises, wide);
  });
  return {y, total_out};
}

}  // namespace
}  // namespace sbp::device

SBP_CUDA_LIBRARY(m) { m.impl("signed_spmm_steps", TORCH_BOX(&sbp::device::signed_spmm_steps)); }
