// Several steps in one call: two buffers that the features go back and forth between, and no Python between steps.
#include <tuple>

#include "row_ops.h"

namespace sbp {
namespace {

// Room for the table of a class block, which is recomputed from the features in every step.
struct Table {
  MaybeTensor partial, sums, table;
};

Table new_table(const Classes& classes, int64_t width, const Dtype& acc) {
  if (classes.block == nullptr) return {};
  return {new_output(classes.num_segments, width, acc), new_output(classes.num_groups, width, acc),
          new_output(classes.num_groups, width, acc)};
}

void make_table(const Arguments& args, Classes classes, Table& room, Half& half, const Features& x) {
  const int64_t width = x.width;
  classes.listed = with_coef(classes.listed, bytes_of(x, args.dtype()), 1.0);
  classes.listed.x = half.x;
  classes.listed.x_stride = half.x_stride;
  sum_groups(row_kernels(args.type(), false), classes, width, args.acc(), room.partial->mutable_data_ptr(),
             room.sums->mutable_data_ptr());
  mix(classes.block, room.sums->const_data_ptr(), room.table->mutable_data_ptr(), classes.num_groups,
      classes.num_groups, width, args.acc());
  half.table = room.table->const_data_ptr();
}

// What to do with the states of all steps.
struct Steps {
  double eps;
  int64_t num_steps;
  Scalars gamma;  // [num_steps + 1], or not given
  bool own_residual;
};

Steps read_steps(Arguments& args, double eps, int64_t num_steps, const MaybeTensor& gamma, bool own_residual,
                 int64_t num_rows, int64_t num_cols) {
  check_eps(args, eps, true);
  check_steps(args, num_steps, num_rows, num_cols);
  return {eps, num_steps, Scalars(args, "gamma", gamma, num_steps + 1), own_residual};
}

// x after num_steps >= 1 steps and, where gamma is given, sum_k gamma_k x_k (else an empty tensor).
std::tuple<Tensor, Tensor> run_steps(const Arguments& args, SpmmParams params, const RowKernels& run, const Features& x,
                                     const Steps& steps, const Classes (&classes)[2]) {
  const int64_t num_rows = params.num_rows, width = params.width, num_steps = steps.num_steps;
  const bool sums = steps.gamma.given();
  Tensor y = new_output(num_rows, width, args.dtype());
  Tensor other = new_output(num_steps > 1 ? num_rows : 0, width, args.dtype());
  Tensor rstd = new_vector(steps.eps >= 0 ? num_rows : 0, args.acc());
  Tensor total = new_output(sums ? num_rows : 0, width, args.acc());
  Tensor total_out = new_output(sums ? num_rows : 0, width, args.dtype());
  Table tables[2] = {new_table(classes[0], width, args.acc()), new_table(classes[1], width, args.acc())};
  void* buffer[2];
  buffer[num_steps % 2] = y.mutable_data_ptr();
  buffer[(num_steps + 1) % 2] = other.mutable_data_ptr();
  params.eps = steps.eps;
  params.rstd = rstd.mutable_data_ptr();

  // The running sum is a row pass of its own, without edges: 1 total (as a table) + gamma_k x_k (as a residual).
  const RowKernels& add = row_kernels(args.type(), kNarrow);
  SpmmParams sum;
  sum.num_rows = num_rows;
  sum.width = width;
  write_to(sum, total_out.mutable_data_ptr(), args.dtype());
  for (int64_t k = 1; k <= num_steps; ++k) {
    write_to(params, buffer[k % 2], args.dtype());
    // The running sum reads it at once.
    params.streams = params.streams && !sums;
    for (int h = 0; h < 2; ++h) {
      Half& half = params.half[h];
      if (k > 1) {
        half.x = buffer[(k - 1) % 2];
        half.x_stride = width;
      }
      if (classes[h].block != nullptr && half.coef != 0.0) make_table(args, classes[h], tables[h], half, x);
    }
    if (k > 1 && steps.own_residual && params.residual != nullptr) {
      params.residual = buffer[(k - 1) % 2];
      params.residual_stride = width;
    }
    parallel_rows(num_rows, cost_of(params), [&](int64_t begin, int64_t end) {
      run.spmm(params, begin, end);
      if (!sums) return;
      SpmmParams mine = sum;
      if (k == 1) {
        mine.residual = x.data;
        mine.residual_stride = x.stride;
        mine.r = steps.gamma[0];
        add.sum(mine, total.mutable_data_ptr(), begin, end);
      }
      mine.residual = params.y;
      mine.residual_stride = width;
      mine.r = steps.gamma[k];
      mine.half[0].table = total.const_data_ptr();
      mine.half[0].coef = 1.0;
      if (k < num_steps)
        add.sum(mine, total.mutable_data_ptr(), begin, end);
      else
        add.spmm(mine, begin, end);
    });
  }
  return {y, total_out};
}

std::tuple<Tensor, Tensor> signed_spmm_steps(SBP_STEPS_ARGS) {
  Arguments args("signed_spmm_steps", trusted);
  const ClassTensors pos_classes = SBP_CLASSES_OF(pos), neg_classes = SBP_CLASSES_OF(neg);
  const Operands all =
      read_operands(args, x, x_neg, residual, SBP_HALF_OF(pos), SBP_HALF_OF(neg), num_rows, &pos_classes, &neg_classes);
  const SpmmParams params = spmm_params(args, all, read_coefficients(args, coef, r, p, q));
  read_plan(args, SBP_PLAN_OF, num_rows);
  const Steps steps = read_steps(args, eps, num_steps, gamma, own_residual, num_rows, all.x.rows);
  return run_steps(args, params, row_kernels(args.type(), args.wide()), all.x, steps, all.classes);
}

std::tuple<Tensor, Tensor> merged_spmm_steps(const Tensor& x, const MaybeTensor& residual, double eps,
                                             int64_t num_steps, const MaybeTensor& gamma, bool own_residual,
                                             SBP_MERGED_ARGS) {
  Arguments args("merged_spmm_steps", trusted);
  const SpmmParams params = SBP_MERGED_PARAMS;
  const Features features{params.half[0].x, x.size(0), params.width, params.half[0].x_stride};
  const Steps steps = read_steps(args, eps, num_steps, gamma, own_residual, params.num_rows, features.rows);
  const Classes none[2];
  return run_steps(args, params, row_kernels(args.type(), kMerged), features, steps, none);
}

}  // namespace
}  // namespace sbp

STABLE_TORCH_LIBRARY_IMPL(sbp, CPU, m) {
  m.impl("signed_spmm_steps", TORCH_BOX(&sbp::signed_spmm_steps));
  m.impl("merged_spmm_steps", TORCH_BOX(&sbp::merged_spmm_steps));
}
