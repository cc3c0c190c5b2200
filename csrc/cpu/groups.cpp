// Sums over groups of nodes, in an order that follows from the plan alone, and the tables made of them.
#include <cstring>
#include <vector>

#include "ops.h"

namespace sbp {
namespace {

template <class A>
void add_segments(const A* partial, const int64_t* group_segptr, A* out, int64_t width, int64_t begin, int64_t end) {
  for (int64_t g = begin; g < end; ++g) {
    A* sum = out + g * width;
    std::memset(sum, 0, sizeof(A) * size_t(width));
    for (int64_t s = group_segptr[g]; s < group_segptr[g + 1]; ++s) {
      for (int64_t k = 0; k < width; ++k) sum[k] += partial[s * width + k];
    }
  }
}

// One list of rows of x a row, as a row pass.
SpmmParams lists_of(const Half& listed, int64_t num_rows, int64_t width) {
  SpmmParams params;
  params.half[0] = listed;
  params.num_rows = num_rows;
  params.width = width;
  return params;
}

}  // namespace

void sum_groups(const RowKernels& run, const Half& listed, const int64_t* group_segptr, int64_t num_segments,
                int64_t num_groups, int64_t width, ScalarType acc, void* partial, void* sums) {
  const SpmmParams params = lists_of(listed, num_segments, width);
  parallel_rows(num_segments, RowCost{listed.rowptr, nullptr, width},
                [&](int64_t begin, int64_t end) { run.sum(params, partial, begin, end); });
  parallel_rows(num_groups, RowCost{group_segptr, nullptr, width}, [&](int64_t begin, int64_t end) {
    if (acc == ScalarType::Double) {
      add_segments(static_cast<const double*>(partial), group_segptr, static_cast<double*>(sums), width, begin, end);
    } else {
      add_segments(static_cast<const float*>(partial), group_segptr, static_cast<float*>(sums), width, begin, end);
    }
  });
}

void mix(const void* block, const void* sums, void* out, int64_t num_rows, int64_t num_groups, int64_t width,
         ScalarType acc) {
  const RowKernels& run =
      kernels().table[static_cast<int>(acc == ScalarType::Double ? Type::kFloat64 : Type::kFloat32)][kWide];
  // A row of the block is a sparse row that has every column.
  std::vector<int64_t> column(static_cast<size_t>(num_groups));
  for (int64_t h = 0; h < num_groups; ++h) column[size_t(h)] = h;
  const int64_t bounds[2] = {0, num_groups}, size = size_of(acc);
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
      run.sum(lists_of(row, 1, width), static_cast<char*>(out) + g * width * size, 0, 1);
    }
  });
}

namespace {

Tensor group_sum(Tensor x, Tensor order, Tensor segptr, Tensor group_segptr) {
  const int64_t width = x.size(1), num_segments = segptr.numel() - 1, num_groups = group_segptr.numel() - 1;
  const Half listed = with_coef(half_of(segptr, order, {}, {}, {}, {}, {}, x), x, 1.0);
  Tensor partial = new_output(num_segments, width, acc_type(x));
  Tensor out = torch::stable::new_empty(x, {num_groups, width}, acc_type(x));
  sum_groups(row_kernels(x, wide_index(order, {})), listed, static_cast<const int64_t*>(group_segptr.const_data_ptr()),
             num_segments, num_groups, width, acc_type(x), partial.mutable_data_ptr(), out.mutable_data_ptr());
  return out;
}

Tensor mix_groups(Tensor block, Tensor sums) {
  Tensor out = torch::stable::new_empty(sums, {block.size(0), sums.size(1)}, acc_type(sums));
  mix(block.const_data_ptr(), sums.const_data_ptr(), out.mutable_data_ptr(), block.size(0), sums.size(0), sums.size(1),
      acc_type(sums));
  return out;
}

}  // namespace
}  // namespace sbp

STABLE_TORCH_LIBRARY_IMPL(sbp, CPU, m) {
  m.impl("group_sum", TORCH_BOX(&sbp::group_sum));
  m.impl("mix_groups", TORCH_BOX(&sbp::mix_groups));
}
