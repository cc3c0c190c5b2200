// Several steps in one call: two buffers that the features go back and forth between, and no Python between steps.
#include <tuple>

#include "ops.h"

namespace sbp {
namespace {

// A class block of one half, whose table is made anew from the features in every step.
struct ClassSums {
  Half listed;  // order and segptr; x is set step by step
  const int64_t* group_segptr = nullptr;
  const void* block = nullptr;
  int64_t num_segments = 0, num_groups = 0;
  MaybeTensor partial, sums, table;
};

ClassSums classes_of(const Tensor& x, const MaybeTensor& order, const MaybeTensor& segptr,
                     const MaybeTensor& group_segptr, const MaybeTensor& block) {
  ClassSums classes;
  if (!block.has_value()) return classes;
  classes.listed = with_coef(half_of(segptr, order, {}, {}, {}, {}, {}, x), x, 1.0);
  classes.group_segptr = static_cast<const int64_t*>(group_segptr->const_data_ptr());
  classes.block = block->const_data_ptr();
  classes.num_segments = segptr->numel() - 1;
  classes.num_groups = block->size(0);
  classes.partial = new_output(classes.num_segments, x.size(1), acc_type(x));
  classes.sums = new_output(classes.num_groups, x.size(1), acc_type(x));
  classes.table = new_output(classes.num_groups, x.size(1), acc_type(x));
  return classes;
}

void make_table(ClassSums& classes, Half& half, const Tensor& x, int64_t width) {
  classes.listed.x = half.x;
  classes.listed.x_stride = half.x_stride;
  sum_groups(row_kernels(x, false), classes.listed, classes.group_segptr, classes.num_segments, classes.num_groups,
             width, acc_type(x), classes.partial->mutable_data_ptr(), classes.sums->mutable_data_ptr());
  mix(classes.block, classes.sums->const_data_ptr(), classes.table->mutable_data_ptr(), classes.num_groups,
      classes.num_groups, width, acc_type(x));
  half.table = classes.table->const_data_ptr();
}

// x after num_steps >= 1 steps and, where gamma [num_steps + 1] is given, sum_k gamma_k x_k (else an empty tensor).
std::tuple<Tensor, Tensor> run_steps(SpmmParams params, const RowKernels& run, const Tensor& x, double eps,
                                     int64_t num_steps, const MaybeTensor& gamma, ClassSums (&classes)[2],
                                     bool own_residual) {
  const int64_t num_rows = params.num_rows, width = params.width;
  Tensor y = new_output(num_rows, width, x.scalar_type());
  Tensor other = new_output(num_steps > 1 ? num_rows : 0, width, x.scalar_type());
  Tensor rstd = new_output(eps >= 0 ? num_rows : 0, 1, acc_type(x));
  Tensor total = new_output(gamma.has_value() ? num_rows : 0, width, acc_type(x));
  Tensor total_out = new_output(gamma.has_value() ? num_rows : 0, width, x.scalar_type());
  void* buffer[2];
  buffer[num_steps % 2] = y.mutable_data_ptr();
  buffer[(num_steps + 1) % 2] = other.mutable_data_ptr();
  params.eps = eps;
  params.rstd = rstd.mutable_data_ptr();

  // The running sum is a row pass of its own, without edges: 1 total (as a table) + gamma_k x_k (as a residual).
  const RowKernels& add = row_kernels(x, kNarrow);
  SpmmParams sum;
  sum.num_rows = num_rows;
  sum.width = width;
  write_to(sum, total_out.mutable_data_ptr(), x);
  for (int64_t k = 1; k <= num_steps; ++k) {
    write_to(params, buffer[k % 2], x);
    // The running sum reads it at once.
    params.streams = params.streams && !gamma.has_value();
    for (int h = 0; h < 2; ++h) {
      Half& half = params.half[h];
      if (k > 1) {
        half.x = buffer[(k - 1) % 2];
        half.x_stride = width;
      }
      if (classes[h].block != nullptr && half.coef != 0.0) make_table(classes[h], half, x, width);
    }
    if (k > 1 && own_residual && params.residual != nullptr) {
      params.residual = buffer[(k - 1) % 2];
      params.residual_stride = width;
    }
    parallel_rows(num_rows, cost_of(params), [&](int64_t begin, int64_t end) {
      run.spmm(params, begin, end);
      if (!gamma.has_value()) return;
      SpmmParams mine = sum;
      if (k == 1) {
        mine.residual = x.const_data_ptr();
        mine.residual_stride = x.stride(0);
        mine.r = read_scalar(gamma, 0, 0.0);
        add.sum(mine, total.mutable_data_ptr(), begin, end);
      }
      mine.residual = params.y;
      mine.residual_stride = width;
      mine.r = read_scalar(gamma, k, 0.0);
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
  ClassSums classes[2] = {classes_of(x, pos_order, pos_segptr, pos_group_segptr, pos_block),
                          classes_of(x, neg_order, neg_segptr, neg_group_segptr, neg_block)};
  const RowKernels& run = row_kernels(x, wide_index(pos_col, neg_col));
  return run_steps(SBP_SPMM_PARAMS, run, x, eps, num_steps, gamma, classes, own_residual);
}

std::tuple<Tensor, Tensor> merged_spmm_steps(Tensor x, MaybeTensor residual, double eps, int64_t num_steps,
                                             MaybeTensor gamma, bool own_residual, SBP_MERGED_ARGS) {
  ClassSums none[2];
  return run_steps(SBP_MERGED_PARAMS, row_kernels(x, kMerged), x, eps, num_steps, gamma, none, own_residual);
}

}  // namespace
}  // namespace sbp

STABLE_TORCH_LIBRARY_IMPL(sbp, CPU, m) {
  m.impl("signed_spmm_steps", TORCH_BOX(&sbp::signed_spmm_steps));
  m.impl("merged_spmm_steps", TORCH_BOX(&sbp::merged_spmm_steps));
}
