// Sums of x over groups of nodes, and products of a block with such sums (the table of a class block).
//
// A group is cut into segments. One row pass sums the rows of x that each segment lists, a second loop adds the
// segments of each group. A segment or group has one owner thread, so the order of each sum depends on the segments
// alone, not on the number of threads.
#include <vector>

#include "row_ops.h"

namespace sbp {
namespace {

template <class A>
void add_segments(const A* partial, const int64_t* group_segptr, A* out, int64_t width, int64_t begin, int64_t end) {
  for (int64_t g = begin; g < end; ++g) {
    A* sum = out + g * width;
    for (int64_t k = 0; k < width; ++k) sum[k] = A(0);
    for (int64_t s = group_segptr[g]; s < group_segptr[g + 1]; ++s) {
      for (int64_t k = 0; k < width; ++k) sum[k] += partial[s * width + k];
    }
  }
}

// A row pass whose edges are the rows of x that each segment lists.
SpmmParams pass_over(const Half& listed, int64_t num_rows, int64_t width) {
  SpmmParams params;
  params.half[0] = listed;
  params.num_rows = num_rows;
  params.width = params.y_stride = width;
  return params;
}

}  // namespace

void run_group_sum(const RowKernels& run, const GroupSegments& groups, int64_t width, const Dtype& acc, void* partial,
                   void* sums) {
  const SpmmParams params = pass_over(groups.listed, groups.num_segments, width);
  const int64_t* group_segptr = groups.group_segptr;
  parallel_rows(groups.num_segments, RowCost{groups.listed.rowptr, nullptr, width},
                [&](int64_t begin, int64_t end) { run.sum(params, partial, begin, end); });
  parallel_rows(groups.num_groups, RowCost{group_segptr, nullptr, width}, [&](int64_t begin, int64_t end) {
    if (acc.size == 8)
      add_segments(static_cast<const double*>(partial), group_segptr, static_cast<double*>(sums), width, begin, end);
    else
      add_segments(static_cast<const float*>(partial), group_segptr, static_cast<float*>(sums), width, begin, end);
  });
}

void run_mix_groups(const void* block, const void* sums, void* out, int64_t num_rows, int64_t num_groups, int64_t width,
                    const Dtype& acc) {
  const RowKernels& run = row_kernels(acc.size == 8 ? Type::kFloat64 : Type::kFloat32, kInt64Columns);
  // A row of the block is a sparse row with an edge in every column.
  std::vector<int64_t> column(static_cast<size_t>(num_groups));
  for (int64_t h = 0; h < num_groups; ++h) column[size_t(h)] = h;
  const int64_t bounds[2] = {0, num_groups}, size = acc.size;
  const auto cost = [&](int64_t row) { return row * num_groups * width; };
  parallel_rows(num_rows, cost, [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g) {
      Half row;
      row.rowptr = bounds;
      row.col = column.data();
      row.weight = static_cast<const char*>(block) + g * num_groups * size;
      row.x = sums;
      row.x_stride = width;
      row.coef = 1.0;
      run.sum(pass_over(row, 1, width), static_cast<char*>(out) + g * width * size, 0, 1);
    }
  });
}

namespace {

Tensor group_sum(const Tensor& x, const Tensor& order, const Tensor& segptr, const Tensor& group_segptr, bool trusted) {
  Arguments args("group_sum", trusted);
  const Features from = args.first("x", x);
  GroupSegments groups = read_groups(args, "", order, segptr, group_segptr, from, -1);
  groups.listed = with_coef(groups.listed, bytes_of(from, args.dtype()), 1.0);
  Tensor partial = new_output(groups.num_segments, from.width, args.acc());
  Tensor out = new_output(groups.num_groups, from.width, args.acc());
  run_group_sum(row_kernels(args.type(), edge_format(groups.int64_order)), groups, from.width, args.acc(),
                partial.mutable_data_ptr(), out.mutable_data_ptr());
  return out;
}

Tensor mix_groups(const Tensor& block, const Tensor& sums) {
  Arguments args("mix_groups", true);
  const Mixing mixing = read_mixing(args, block, sums);
  Tensor out = new_output(mixing.num_rows, mixing.width, args.acc());
  run_mix_groups(mixing.block, mixing.sums, out.mutable_data_ptr(), mixing.num_rows, mixing.num_groups, mixing.width,
                 args.acc());
  return out;
}

}  // namespace
}  // namespace sbp

STABLE_TORCH_LIBRARY_IMPL(sbp, CPU, m) {
  m.impl("group_sum", TORCH_BOX(&sbp::group_sum));
  m.impl("mix_groups", TORCH_BOX(&sbp::mix_groups));
}
