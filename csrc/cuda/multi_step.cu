// signed_spmm_steps: K steps in one cooperative launch if the device and the graph allow it, else one or several
// launches per step. The op neither copies from the device nor synchronises with it.
#include "instances/multi_step_launch.h"

namespace sbp::device {
namespace {

// Memory for the sums and the table of the class block of one half.
struct ClassBlockMemory {
  Tensor partial, table;
};

ClassBlockMemory class_block_of(ClassBlockSums& classes, Half& half, const GroupSegments& given, const Tensor& x,
                                int64_t width, ScalarType acc) {
  ClassBlockMemory made{new_matrix(x, given.num_segments, width, acc), new_matrix(x, given.num_groups, width, acc)};
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

// The table of one half, computed as in the cooperative kernel.
template <class S> __global__ void __launch_bounds__(kThreads)
    table_kernel(const __grid_constant__ ClassBlockSums c, int64_t width) {
  compute_table<Acc<S>>(c, width, int64_t(blockIdx.x) * kThreads + threadIdx.x, int64_t(gridDim.x) * kThreads);
}

template <class S> void run_steps_one_by_one(const Context& context, const MultiStepParams<Acc<S>>& params,
                                             bool layer_norm, bool int64_columns) {
  for (int k = 1; k <= params.pass.num_steps; ++k) {
    RowPassParams<Acc<S>> p = params_of_step(params, k);
    for (int h = 0; h < 2; ++h) {
      const ClassBlockSums& classes = params.classes[h];
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
    const bool fits = !layer_norm || p.width <= norm_width<S>(p);
    run_rows<S>(context, p, layer_norm && fits ? RowOp::kNorm : RowOp::kSpmm, int64_columns);
    if (!fits)
      run_norm<S>(context, p, p.bins.num_hubs + p.bins.num_block_rows + p.bins.num_warp_rows + p.bins.num_light_rows,
                  false);
  }
}

// x after num_steps steps and, if gamma [num_steps + 1] is given, sum_k gamma_k x_k (else an empty tensor).
std::tuple<Tensor, Tensor> signed_spmm_steps(OpStack& stack) {
  const MultiStepArgs in = take_multi_step(stack);
  Arguments args("signed_spmm_steps", in.trusted);
  const Tensor& x = in.spmm.x;
  const int64_t num_rows = in.spmm.num_rows, num_steps = in.num_steps;
  const Context context(x);
  const Operands all = read_operands(args, in.spmm, &in.pos, &in.neg);
  const Coefficients coefs(args, in.spmm.coef, in.spmm.r, in.spmm.p, in.spmm.q);
  const DegreeBins bins = read_degree_bins(args, in.bins, num_rows);
  check_eps(args, in.eps, true);
  check_steps(args, num_steps, num_rows, all.x.rows);
  const void* gammas = args.vector("gamma", in.gamma, args.acc(), {"num_steps+1", num_steps + 1});
  for (const GroupSegments& groups : all.groups) {
    if (groups.num_segments > INT32_MAX) args.refuse("segptr must have at most 2147483647 segments on CUDA");
  }
  const int64_t width = all.x.width;
  Tensor y = new_matrix(x, num_rows, width, x.scalar_type());
  Tensor other = new_matrix(x, num_steps > 1 ? num_rows : 0, width, x.scalar_type());
  Tensor total_out = new_matrix(x, in.gamma.has_value() ? num_rows : 0, width, x.scalar_type());
  Tensor total = new_matrix(x, in.gamma.has_value() ? num_rows : 0, width, acc_type(args));
  by_type(args.type(), [&](auto type) {
    using S = decltype(type);
    using A = Acc<S>;
    MultiStepParams<A> params;
    RowPassParams<A>& pass = params.pass;
    pass = row_pass_params<A>(all, coefs, bins);
    pass.num_steps = int(num_steps);
    pass.eps = A(in.eps);
    pass.gamma = static_cast<const A*>(gammas);
    pass.total = static_cast<A*>(total.mutable_data_ptr());
    pass.total_out = total_out.mutable_data_ptr();
    pass.y = y.mutable_data_ptr();
    params.own_residual = in.own_residual;
    params.buffer[num_steps % 2] = pass.y;
    params.buffer[(num_steps + 1) % 2] = other.mutable_data_ptr();
    std::optional<ClassBlockMemory> made[2];
    for (int h = 0; h < 2; ++h) {
      if (all.groups[h].block != nullptr)
        made[h] = class_block_of(params.classes[h], pass.half[h], all.groups[h], x, width, acc_type(args));
    }
    const MaybeTensor partial = new_partial(x, pass, 1);
    const bool layer_norm = in.eps >= 0, int64_columns = args.int64_columns();
    Tensor rstd = new_matrix(x, layer_norm ? num_rows : 0, 1, acc_type(args));
    if (layer_norm) pass.rstd = static_cast<A*>(rstd.mutable_data_ptr());
    if (run_multi_step<S>(context, params, layer_norm, int64_columns)) return;
    MaybeTensor z;
    if (layer_norm) {
      const int64_t rows = width <= norm_width<S>(pass) ? pass.bins.num_hubs : num_rows;
      z = new_matrix(x, rows, width, acc_type(args));
      if (rows > 0) pass.z = static_cast<A*>(z->mutable_data_ptr());
    }
    run_steps_one_by_one<S>(context, params, layer_norm, int64_columns);
  });
  return {y, total_out};
}

}  // namespace
}  // namespace sbp::device

SBP_CUDA_LIBRARY(m) { m.impl("signed_spmm_steps", sbp::boxed<sbp::device::signed_spmm_steps>); }
