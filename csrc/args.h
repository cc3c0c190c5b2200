// The arguments of the ops in ops.cpp, which torch unpacks one by one, and what every device makes of them.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <optional>

#include "params.h"

#define SBP_HALF_ARGS(name)                                                                                   \
  MaybeTensor name##_rowptr, MaybeTensor name##_col, MaybeTensor name##_weight, MaybeTensor name##_row_scale, \
      MaybeTensor name##_col_scale, MaybeTensor name##_table, MaybeTensor name##_group
#define SBP_HALF_OF(name, x) \
  half_of(name##_rowptr, name##_col, name##_weight, name##_row_scale, name##_col_scale, name##_table, name##_group, x)
#define SBP_SPMM_ARGS                                                                                          \
  Tensor x, MaybeTensor x_neg, MaybeTensor residual, SBP_HALF_ARGS(pos), SBP_HALF_ARGS(neg), MaybeTensor coef, \
      double r, double p, double q, int64_t num_rows
#define SBP_PLAN_ARGS \
  MaybeTensor chunk, MaybeTensor hub, MaybeTensor block_rows, MaybeTensor warp_rows, MaybeTensor light_rows
#define SBP_CLASS_ARGS(name) \
  MaybeTensor name##_order, MaybeTensor name##_segptr, MaybeTensor name##_group_segptr, MaybeTensor name##_block
#define SBP_STEPS_ARGS                                                                                       \
  SBP_SPMM_ARGS, double eps, int64_t num_steps, MaybeTensor gamma, SBP_CLASS_ARGS(pos), SBP_CLASS_ARGS(neg), \
      bool own_residual, SBP_PLAN_ARGS

namespace sbp {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using MaybeTensor = std::optional<Tensor>;

inline const void* pointer(const MaybeTensor& t) { return t.has_value() ? t->const_data_ptr() : nullptr; }

inline ScalarType acc_type(const Tensor& t) {
  return t.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

inline Half half_of(const MaybeTensor& rowptr, const MaybeTensor& col, const MaybeTensor& weight,
                    const MaybeTensor& row_scale, const MaybeTensor& col_scale, const MaybeTensor& table,
                    const MaybeTensor& group, const Tensor& x) {
  Half half;
  half.rowptr = static_cast<const int64_t*>(pointer(rowptr));
  half.col = pointer(col);
  half.weight = pointer(weight);
  half.row_scale = pointer(row_scale);
  half.col_scale = pointer(col_scale);
  half.table = pointer(table);
  half.group = static_cast<const int64_t*>(pointer(group));
  half.x = x.const_data_ptr();
  half.x_stride = x.stride(0);
  if (col.has_value()) half.num_edges = col->numel();
  return half;
}

// Columns of both halves share one type (Python sees to it); a half without edges has none.
inline bool wide_index(const MaybeTensor& pos_col, const MaybeTensor& neg_col) {
  const MaybeTensor& col = pos_col.has_value() ? pos_col : neg_col;
  return col.has_value() && col->scalar_type() == ScalarType::Long;
}

}  // namespace sbp
