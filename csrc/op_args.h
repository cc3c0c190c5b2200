// The arguments of the ops in ops.cpp, which torch unpacks one by one, and what every device makes of them.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/headeronly/core/ScalarType.h>

#include "checks.h"

#define SBP_HALF_ARGS(name)                                                                                      \
  const MaybeTensor &name##_rowptr, const MaybeTensor &name##_col, const MaybeTensor &name##_weight,             \
      const MaybeTensor &name##_row_scale, const MaybeTensor &name##_col_scale, const MaybeTensor &name##_table, \
      const MaybeTensor &name##_group
#define SBP_HALF_OF(name)                                                                                  \
  HalfTensors {                                                                                            \
    #name "_", name##_rowptr, name##_col, name##_weight, name##_row_scale, name##_col_scale, name##_table, \
        name##_group                                                                                       \
  }
#define SBP_SPMM_ARGS                                                                                             \
  const Tensor &x, const MaybeTensor &x_neg, const MaybeTensor &residual, SBP_HALF_ARGS(pos), SBP_HALF_ARGS(neg), \
      const MaybeTensor &coef, double r, double p, double q, int64_t num_rows
#define SBP_PLAN_ARGS                                                                                            \
  const MaybeTensor &chunk, const MaybeTensor &hub, const MaybeTensor &block_rows, const MaybeTensor &warp_rows, \
      const MaybeTensor &light_rows
#define SBP_PLAN_OF \
  PlanTensors { chunk, hub, block_rows, warp_rows, light_rows }
#define SBP_CLASS_ARGS(name)                                                                                 \
  const MaybeTensor &name##_order, const MaybeTensor &name##_segptr, const MaybeTensor &name##_group_segptr, \
      const MaybeTensor &name##_block
#define SBP_CLASSES_OF(name) \
  ClassTensors { #name "_", name##_order, name##_segptr, name##_group_segptr, name##_block }
#define SBP_STEPS_ARGS                                                                                              \
  SBP_SPMM_ARGS, double eps, int64_t num_steps, const MaybeTensor &gamma, SBP_CLASS_ARGS(pos), SBP_CLASS_ARGS(neg), \
      bool own_residual, SBP_PLAN_ARGS, bool trusted

namespace sbp {

using torch::headeronly::ScalarType;

// One half as it comes: seven optional tensors. Absent: all of them.
struct HalfTensors {
  const char* sign;
  const MaybeTensor &rowptr, &col, &weight, &row_scale, &col_scale, &table, &group;
};

// The group plan and block of a class block whose table is recomputed in every step; all four tensors or none.
struct ClassTensors {
  const char* sign;
  const MaybeTensor &order, &segptr, &group_segptr, &block;
};

// The rows in bins by degree, heaviest first (see cuda/params.cuh); all five tensors or none.
struct PlanTensors {
  const MaybeTensor &chunk, &hub, &block_rows, &warp_rows, &light_rows;
};

struct Plan {
  const void *chunk = nullptr, *hub = nullptr, *block_rows = nullptr, *warp_rows = nullptr, *light_rows = nullptr;
  int64_t num_chunks = 0, num_hubs = 0, num_block_rows = 0, num_warp_rows = 0, num_light_rows = 0;
  bool given = false;
};

// Node i is in one of `num_groups` groups; the nodes of a group are listed in `segments`.
struct Classes {
  Half listed;  // row s lists the nodes of segment s
  const int64_t* group_segptr = nullptr;
  const void* block = nullptr;  // [num_groups, num_groups]; null: no class block
  int64_t num_segments = 0, num_groups = -1;
  bool wide = false;  // the order is int64, not int32
};

// What one row pass reads. x of the positive half is half[0].x.
struct Operands {
  Features x, residual;  // no residual: null
  Half half[2];
  Classes classes[2];
  int64_t num_rows = 0;
};

// The edges, weights and scales of a half; x is null where none are read.
inline void read_edges(Arguments& args, Half& half, const HalfTensors& t, int64_t num_rows, int64_t num_cols) {
  half.rowptr = args.int64s({t.sign, "rowptr"}, *t.rowptr, {"num_rows+1", num_rows + 1});
  half.col = args.columns({t.sign, "col"}, *t.col, &half.num_edges);
  half.weight = args.vector({t.sign, "weight"}, t.weight, args.acc(), {"num_edges", half.num_edges});
  half.row_scale = args.vector({t.sign, "row_scale"}, t.row_scale, args.acc(), {"num_rows", num_rows});
  half.col_scale = args.vector({t.sign, "col_scale"}, t.col_scale, args.acc(), {"num_cols", num_cols});
  args.ascends({t.sign, "rowptr"}, half.rowptr, num_rows + 1, half.num_edges);
  args.index_below({t.sign, "col"}, half.col, args.wide(), half.num_edges, num_cols);
}

// A table [num_rows, d], or [groups, d] and the group of each row; num_groups >= 0: a table of so many comes later.
inline void read_table(Arguments& args, Half& half, const HalfTensors& t, const Features& x, int64_t num_rows,
                       int64_t num_groups) {
  const Name group(t.sign, "group");
  if (t.table.has_value()) {
    if (num_groups >= 0) args.refuse(Name(t.sign, "table").text() + " and a class block exclude each other");
    const Axis rows = t.group.has_value() ? Axis{"num_groups", -1} : Axis{"num_rows", num_rows};
    half.table = args.matrix({t.sign, "table"}, *t.table, args.acc(), rows, {"features", x.width}, &num_groups);
  } else if (!t.group.has_value()) {
    args.refuse(group.text() + " must be given with a class block");
  }
  if (!t.group.has_value()) return;
  if (num_groups < 0) args.refuse(group.text() + " must be given with a table or a class block");
  half.group = args.int64s(group, *t.group, {"num_rows", num_rows});
  args.index_below(group, half.group, true, num_rows, num_groups);
}

// num_groups >= 0: the half is a class block of so many groups, whose table comes later.
inline Half read_half(Arguments& args, const HalfTensors& t, const Features& x, int64_t num_rows,
                      int64_t num_groups = -1) {
  Half half;
  half.x = x.data;
  half.x_stride = x.stride;
  if (t.rowptr.has_value() && t.col.has_value())
    read_edges(args, half, t, num_rows, x.rows);
  else if (t.rowptr.has_value() || t.col.has_value() || t.weight.has_value() || t.row_scale.has_value() ||
           t.col_scale.has_value())
    args.refuse(Name(t.sign, "rowptr").text() + " and " + t.sign +
                "col must be given together, and weight or scales only with them");
  if (t.table.has_value() || t.group.has_value() || num_groups >= 0) read_table(args, half, t, x, num_rows, num_groups);
  return half;
}

// Rows to sum, listed by segment, and the segments of each group.
inline Classes read_groups(Arguments& args, const char* sign, const Tensor& order, const Tensor& segptr,
                           const Tensor& group_segptr, const Features& x, int64_t num_groups) {
  Classes classes;
  int64_t segments = 0, groups = 0;
  classes.listed.x = x.data;
  classes.listed.x_stride = x.stride;
  classes.listed.col = args.index({sign, "order"}, order, {"num_listed", -1}, &classes.listed.num_edges, &classes.wide);
  classes.listed.rowptr = args.int64s({sign, "segptr"}, segptr, {"num_segments+1", -1}, &segments);
  classes.group_segptr = args.int64s({sign, "group_segptr"}, group_segptr,
                                     {"num_groups+1", num_groups < 0 ? -1 : num_groups + 1}, &groups);
  if (segments < 1 || groups < 1)
    args.refuse(Name(sign, "segptr").text() + " and group_segptr must not be empty, got " + std::to_string(segments) +
                " and " + std::to_string(groups) + " numbers");
  classes.num_segments = segments - 1;
  classes.num_groups = groups - 1;
  args.ascends({sign, "segptr"}, classes.listed.rowptr, segments, classes.listed.num_edges);
  args.ascends({sign, "group_segptr"}, classes.group_segptr, groups, classes.num_segments);
  args.index_below({sign, "order"}, classes.listed.col, classes.wide, classes.listed.num_edges, x.rows);
  return classes;
}

// block [num_rows, num_groups] and sums [num_groups, width] in the accumulation type.
struct Mixing {
  const void *block, *sums;
  int64_t num_rows, num_groups, width;
};

inline Mixing read_mixing(Arguments& args, const Tensor& block, const Tensor& sums) {
  Mixing m;
  const Features rows = args.first("sums", sums);
  if (args.dtype().size < 4) args.refuse("sums must be float32 or float64, got " + describe(sums));
  m.num_groups = rows.rows;
  m.width = rows.width;
  m.sums = args.matrix("sums", sums, args.acc(), {"num_groups", rows.rows}, {"features", rows.width});
  m.block = args.matrix("block", block, args.acc(), {"rows", -1}, {"num_groups", rows.rows}, &m.num_rows);
  return m;
}

inline Classes read_classes(Arguments& args, const ClassTensors& t, const Features& x) {
  Classes classes;
  if (!t.order.has_value() && !t.segptr.has_value() && !t.group_segptr.has_value() && !t.block.has_value())
    return classes;
  if (!t.order.has_value() || !t.segptr.has_value() || !t.group_segptr.has_value() || !t.block.has_value())
    args.refuse(Name(t.sign, "order").text() + ", segptr, group_segptr and block must be given together");
  const View block(*t.block);
  const int64_t groups = block.dim == 2 ? block.sizes[0] : 0;
  const void* data = args.matrix({t.sign, "block"}, *t.block, args.acc(), {"groups", groups}, {"groups", groups});
  classes = read_groups(args, t.sign, *t.order, *t.segptr, *t.group_segptr, x, groups);
  if (classes.wide) args.refuse(Name(t.sign, "order").text() + " must be int32, got " + describe(*t.order));
  classes.block = data;
  return classes;
}

inline Plan read_plan(Arguments& args, const PlanTensors& t, int64_t num_rows) {
  Plan plan;
  const int given = t.chunk.has_value() + t.hub.has_value() + t.block_rows.has_value() + t.warp_rows.has_value() +
                    t.light_rows.has_value();
  if (given == 0) return plan;
  if (given != 5) args.refuse("chunk, hub, block_rows, warp_rows and light_rows must be given together");
  plan.given = true;
  plan.chunk = args.matrix("chunk", *t.chunk, kDtypes.int32, {"num_chunks", -1}, {"fields", 3}, &plan.num_chunks);
  plan.hub = args.matrix("hub", *t.hub, kDtypes.int32, {"num_hubs+1", -1}, {"fields", 2}, &plan.num_hubs);
  plan.block_rows = args.vector("block_rows", *t.block_rows, kDtypes.int32, {"rows", -1}, &plan.num_block_rows);
  plan.warp_rows = args.vector("warp_rows", *t.warp_rows, kDtypes.int32, {"rows", -1}, &plan.num_warp_rows);
  plan.light_rows = args.vector("light_rows", *t.light_rows, kDtypes.int32, {"rows", -1}, &plan.num_light_rows);
  const int64_t planned = --plan.num_hubs + plan.num_block_rows + plan.num_warp_rows + plan.num_light_rows;
  if (plan.num_hubs < 0 || planned != num_rows)
    args.refuse("hub, block_rows, warp_rows and light_rows must have each of num_rows=" + std::to_string(num_rows) +
                " rows once, got " + std::to_string(planned));
  return plan;
}

inline Operands read_operands(Arguments& args, const Tensor& x, const MaybeTensor& x_neg, const MaybeTensor& residual,
                              const HalfTensors& pos, const HalfTensors& neg, int64_t num_rows,
                              const ClassTensors* pos_classes = nullptr, const ClassTensors* neg_classes = nullptr) {
  Operands all;
  all.num_rows = args.size("num_rows", num_rows);
  all.x = args.first("x", x);
  const Features other =
      x_neg.has_value() ? args.features("x_neg", *x_neg, {"rows of x", all.x.rows}, all.x.width) : all.x;
  if (residual.has_value()) all.residual = args.features("residual", *residual, {"num_rows", num_rows}, all.x.width);
  if (pos_classes != nullptr) all.classes[0] = read_classes(args, *pos_classes, all.x);
  if (neg_classes != nullptr) all.classes[1] = read_classes(args, *neg_classes, other);
  all.half[0] = read_half(args, pos, all.x, num_rows, all.classes[0].num_groups);
  all.half[1] = read_half(args, neg, other, num_rows, all.classes[1].num_groups);
  return all;
}

}  // namespace sbp
