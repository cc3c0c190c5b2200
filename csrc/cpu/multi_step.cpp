// K steps of propagation in one call, without Python between the steps.
//
// Each step is one row pass from one of two buffers into the other. A class block first recomputes its table from the
// current features. With gamma, the weighted sum of all states is a second row pass, without edges, that a thread runs
// over the rows that it has just written, while they are in its cache. Each row has one owner thread in every pass.
#include <tuple>

#include "packed_tiles.h"
#include "row_ops.h"

namespace sbp {
namespace {

// Memory for the table of a class block, which is recomputed from the features in every step.
struct Table {
  MaybeTensor partial, sums, table;
};

Table new_table(const GroupSegments& groups, int64_t width, const Dtype& acc) {
  if (groups.block == nullptr) return {};
  return {new_output(groups.num_segments, width, acc), new_output(groups.num_groups, width, acc),
          new_output(groups.num_groups, width, acc)};
}

void compute_table(const Arguments& args, GroupSegments groups, Table& memory, Half& half, const Features& x) {
  const int64_t width = x.width;
  groups.listed = with_coef(groups.listed, bytes_of(x, args.dtype()), 1.0);
  groups.listed.x = half.x;
  groups.listed.x_stride = half.x_stride;
  run_group_sum(row_kernels(args.type(), kInt32Columns), groups, width, args.acc(), memory.partial->mutable_data_ptr(),
                memory.sums->mutable_data_ptr());
  run_mix_groups(groups.block, memory.sums->const_data_ptr(), memory.table->mutable_data_ptr(), groups.num_groups,
                 groups.num_groups, width, args.acc());
  half.table = memory.table->const_data_ptr();
}

// What a multi-step call does with the states of its steps.
struct Steps {
  double eps;
  int64_t num_steps;
  Scalars gamma;  // [num_steps + 1], optional
  bool own_residual;
};

Steps read_steps(Arguments& args, double eps, int64_t num_steps, const MaybeTensor& gamma, bool own_residual,
                 int64_t num_rows, int64_t num_cols) {
  check_eps(args, eps, true);
  check_steps(args, num_steps, num_rows, num_cols);
  return {eps, num_steps, Scalars(args, "gamma", gamma, num_steps + 1), own_residual};
}

// x after num_steps >= 1 steps and, if gamma is given, sum_k gamma_k x_k (else an empty tensor).
std::tuple<Tensor, Tensor> run_steps(const Arguments& args, SpmmParams params, const RowKernels& run, const Features& x,
                                     const Steps& steps, const GroupSegments (&groups)[2]) {
  const int64_t num_rows = params.num_rows, width = params.width, num_steps = steps.num_steps;
  const bool sums = steps.gamma.given();
  Tensor y = new_output(num_rows, width, args.dtype());
  Tensor other = new_output(num_steps > 1 ? num_rows : 0, width, args.dtype());
  Tensor rstd = new_vector(steps.eps >= 0 ? num_rows : 0, args.acc());
  Tensor total = new_output(sums ? num_rows : 0, width, args.acc());
  Tensor total_out = new_output(sums ? num_rows : 0, width, args.dtype());
  Table tables[2] = {new_table(groups[0], width, args.acc()), new_table(groups[1], width, args.acc())};
  void* buffer[2];
  buffer[num_steps % 2] = y.mutable_data_ptr();
  buffer[(num_steps + 1) % 2] = other.mutable_data_ptr();
  params.eps = steps.eps;
  params.rstd = rstd.mutable_data_ptr();

  // The running sum is a row pass without edges: 1 total (as a table) + gamma_k x_k (as a residual).
  const RowKernels& add = row_kernels(args.type(), kInt32Columns);
  SpmmParams sum;
  sum.num_rows = num_rows;
  sum.width = sum.y_stride = width;
  write_to(sum, total_out.mutable_data_ptr(), args.dtype());
  for (int64_t k = 1; k <= num_steps; ++k) {
    write_to(params, buffer[k % 2], args.dtype());
    // The running sum reads y at once, so y goes to the cache.
    params.non_temporal = params.non_temporal && !sums;
    for (int h = 0; h < 2; ++h) {
      Half& half = params.half[h];
      if (k > 1) {
        half.x = buffer[(k - 1) % 2];
        half.x_stride = width;
      }
      if (groups[h].block != nullptr && half.coef != 0.0) compute_table(args, groups[h], tables[h], half, x);
    }
    if (k > 1 && steps.own_residual && params.residual != nullptr) {
      params.residual = buffer[(k - 1) % 2];
      params.residual_stride = width;
    }
    run_spmm(params, run, args.dtype(), [&](int64_t begin, int64_t end) {
      if (!sums) return;
      SpmmParams own = sum;
      if (k == 1) {
        own.residual = x.data;
        own.residual_stride = x.stride;
        own.r = steps.gamma[0];
        add.sum(own, total.mutable_data_ptr(), begin, end);
      }
      own.residual = params.y;
      own.residual_stride = width;
      own.r = steps.gamma[k];
      own.half[0].table = total.const_data_ptr();
      own.half[0].coef = 1.0;
      if (k < num_steps)
        add.sum(own, total.mutable_data_ptr(), begin, end);
      else
        add.spmm(own, begin, end);
    });
  }
  return {y, total_out};
}

std::tuple<Tensor, Tensor> signed_spmm_steps(OpStack& stack) {
  const MultiStepArgs in = take_multi_step(stack);
  Arguments args("signed_spmm_steps", in.trusted);
  const Operands all = read_operands(args, in.spmm, &in.pos, &in.neg);
  const SpmmParams params =
      spmm_params(args, all, read_coefficients(args, in.spmm.coef, in.spmm.r, in.spmm.p, in.spmm.q));
  read_degree_bins(args, in.bins, in.spmm.num_rows);
  const Steps steps = read_steps(args, in.eps, in.num_steps, in.gamma, in.own_residual, in.spmm.num_rows, all.x.rows);
  return run_steps(args, params, row_kernels(args.type(), edge_format(args.int64_columns())), all.x, steps, all.groups);
}

std::tuple<Tensor, Tensor> merged_spmm_steps(OpStack& stack) {
  const Tensor x = stack.tensor();
  const MaybeTensor residual = stack.maybe_tensor();
  const double eps = stack.number();
  const int64_t num_steps = stack.integer();
  const MaybeTensor gamma = stack.maybe_tensor();
  const bool own_residual = stack.flag();
  const MergedArgs in = take_merged(stack);
  Arguments args("merged_spmm_steps", in.trusted);
  const SpmmParams params = merged_params(args, x, residual, in);
  const Features features{params.half[0].x, x.size(0), params.width, params.half[0].x_stride};
  const Steps steps = read_steps(args, eps, num_steps, gamma, own_residual, params.num_rows, features.rows);
  const GroupSegments none[2];
  return run_steps(args, params, row_kernels(args.type(), kMergedCsr), features, steps, none);
}

}  // namespace
}  // namespace sbp

STABLE_TORCH_LIBRARY_IMPL(sbp, CPU, m) {
  m.impl("signed_spmm_steps", sbp::boxed<sbp::signed_spmm_steps>);
  m.impl("merged_spmm_steps", sbp::boxed<sbp::merged_spmm_steps>);
}
