// From the arguments of an op to the plain structs of params.h: every function here checks what it reads.
#pragma once

#include <torch/headeronly/core/ScalarType.h>

#include "op_args.h"

namespace sbp {

using torch::headeronly::ScalarType;

// Node i is in one of `num_groups` groups. The nodes of a group are listed in one or several segments.
struct GroupSegments {
  Half listed;  // row s lists the nodes of segment s
  const int64_t* group_segptr = nullptr;
  const void* block = nullptr;  // [num_groups, num_groups]; null: no class block, only group sums
  int64_t num_segments = 0, num_groups = -1;
  bool int64_order = false;
};

// What one row pass reads. x of the positive half is half[0].x.
struct Operands {
  Features x, residual;  // no residual: null
  Half half[2];
  GroupSegments groups[2];
  int64_t num_rows = 0;
};

// Read the edges, weights and scales of a half into `half`, which keeps its x.
inline void read_edges(Arguments& args, Half& half, const HalfArgs& t, int64_t num_rows, int64_t num_cols) {
  half.rowptr = args.int64s({t.sign, "rowptr"}, *t.rowptr, {"num_rows+1", num_rows + 1});
  half.col = args.columns({t.sign, "col"}, *t.col, &half.num_edges);
  half.weight = args.vector({t.sign, "weight"}, t.weight, args.acc(), {"num_edges", half.num_edges});
  half.row_scale = args.vector({t.sign, "row_scale"}, t.row_scale, args.acc(), {"num_rows", num_rows});
  half.col_scale = args.vector({t.sign, "col_scale"}, t.col_scale, args.acc(), {"num_cols", num_cols});
  args.ascends({t.sign, "rowptr"}, half.rowptr, num_rows + 1, half.num_edges);
  args.index_below({t.sign, "col"}, half.col, args.int64_columns(), half.num_edges, num_cols);
}

// Read a table [num_rows, d], or a table [groups, d] and the group of each row. num_groups >= 0: the half is a class
// block of that many groups, whose table the op computes itself.
inline void read_table(Arguments& args, Half& half, const HalfArgs& t, const Features& x, int64_t num_rows,
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

inline Half read_half(Arguments& args, const HalfArgs& t, const Features& x, int64_t num_rows,
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

// Read the rows of x that each segment lists, and the segments of each group. num_groups < 0: any number of groups.
inline GroupSegments read_groups(Arguments& args, const char* sign, const Tensor& order, const Tensor& segptr,
                                 const Tensor& group_segptr, const Features& x, int64_t num_groups) {
  GroupSegments g;
  int64_t segments = 0, groups = 0;
  g.listed.x = x.data;
  g.listed.x_stride = x.stride;
  g.listed.col = args.index({sign, "order"}, order, {"num_listed", -1}, &g.listed.num_edges, &g.int64_order);
  g.listed.rowptr = args.int64s({sign, "segptr"}, segptr, {"num_segments+1", -1}, &segments);
  g.group_segptr = args.int64s({sign, "group_segptr"}, group_segptr,
                               {"num_groups+1", num_groups < 0 ? -1 : num_groups + 1}, &groups);
  if (segments < 1 || groups < 1)
    args.refuse(Name(sign, "segptr").text() + " and group_segptr must not be empty, got " + std::to_string(segments) +
                " and " + std::to_string(groups) + " numbers");
  g.num_segments = segments - 1;
  g.num_groups = groups - 1;
  args.ascends({sign, "segptr"}, g.listed.rowptr, segments, g.listed.num_edges);
  args.ascends({sign, "group_segptr"}, g.group_segptr, groups, g.num_segments);
  args.index_below({sign, "order"}, g.listed.col, g.int64_order, g.listed.num_edges, x.rows);
  return g;
}

inline GroupSegments read_class_block(Arguments& args, const ClassBlockArgs& t, const Features& x) {
  GroupSegments g;
  if (!t.order.has_value() && !t.segptr.has_value() && !t.group_segptr.has_value() && !t.block.has_value()) return g;
  if (!t.order.has_value() || !t.segptr.has_value() || !t.group_segptr.has_value() || !t.block.has_value())
    args.refuse(Name(t.sign, "order").text() + ", segptr, group_segptr and block must be given together");
  const View block(*t.block);
  const int64_t groups = block.dim == 2 ? block.sizes[0] : 0;
  const void* data = args.matrix({t.sign, "block"}, *t.block, args.acc(), {"groups", groups}, {"groups", groups});
  g = read_groups(args, t.sign, *t.order, *t.segptr, *t.group_segptr, x, groups);
  if (g.int64_order) args.refuse(Name(t.sign, "order").text() + " must be int32, got " + describe(*t.order));
  g.block = data;
  return g;
}

// block [num_rows, num_groups] and sums [num_groups, width], both in the accumulation type.
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

// Without tensors, all rows in the bin of one warp per row.
inline DegreeBins read_degree_bins(Arguments& args, const DegreeBinArgs& t, int64_t num_rows) {
  DegreeBins bins;
  const int given = t.chunk.has_value() + t.hub.has_value() + t.block_rows.has_value() + t.warp_rows.has_value() +
                    t.light_rows.has_value();
  if (given == 0) {
    bins.num_warp_rows = num_rows;
    return bins;
  }
  if (given != 5) args.refuse("chunk, hub, block_rows, warp_rows and light_rows must be given together");
  int64_t chunks = 0, hubs = 0, block_rows = 0;
  const auto rows_of = [&](const char* name, const MaybeTensor& rows, int64_t* size) {
    return static_cast<const int32_t*>(args.vector(name, *rows, kDtypes.int32, {"rows", -1}, size));
  };
  bins.chunk = static_cast<const int32_t*>(
      args.matrix("chunk", *t.chunk, kDtypes.int32, {"num_chunks", -1}, {"fields", 3}, &chunks));
  bins.hub =
      static_cast<const int32_t*>(args.matrix("hub", *t.hub, kDtypes.int32, {"num_hubs+1", -1}, {"fields", 2}, &hubs));
  bins.block_rows = rows_of("block_rows", t.block_rows, &block_rows);
  bins.warp_rows = rows_of("warp_rows", t.warp_rows, &bins.num_warp_rows);
  bins.light_rows = rows_of("light_rows", t.light_rows, &bins.num_light_rows);
  const int64_t binned = --hubs + block_rows + bins.num_warp_rows + bins.num_light_rows;
  if (hubs < 0 || binned != num_rows)
    args.refuse("hub, block_rows, warp_rows and light_rows must have each of num_rows=" + std::to_string(num_rows) +
                " rows once, got " + std::to_string(binned));
  if (chunks > INT32_MAX || num_rows > INT32_MAX)
    args.refuse("degree bins hold at most 2147483647 rows and chunks, got " + std::to_string(num_rows) + " and " +
                std::to_string(chunks));
  bins.num_chunks = int(chunks);
  bins.num_hubs = int(hubs);
  bins.num_block_rows = int(block_rows);
  return bins;
}

inline Operands read_operands(Arguments& args, const Tensor& x, const MaybeTensor& x_neg, const MaybeTensor& residual,
                              const HalvesArgs& halves, int64_t num_rows, const ClassBlockArgs* pos_block = nullptr,
                              const ClassBlockArgs* neg_block = nullptr) {
  Operands all;
  all.num_rows = args.size("num_rows", num_rows);
  all.x = args.first("x", x);
  const Features other =
      x_neg.has_value() ? args.features("x_neg", *x_neg, {"rows of x", all.x.rows}, all.x.width) : all.x;
  if (residual.has_value()) all.residual = args.features("residual", *residual, {"num_rows", num_rows}, all.x.width);
  if (pos_block != nullptr) all.groups[0] = read_class_block(args, *pos_block, all.x);
  if (neg_block != nullptr) all.groups[1] = read_class_block(args, *neg_block, other);
  all.half[0] = read_half(args, halves.pos, all.x, num_rows, all.groups[0].num_groups);
  all.half[1] = read_half(args, halves.neg, other, num_rows, all.groups[1].num_groups);
  return all;
}

inline Operands read_operands(Arguments& args, const SpmmArgs& in, const ClassBlockArgs* pos_block = nullptr,
                              const ClassBlockArgs* neg_block = nullptr) {
  return read_operands(args, in.x, in.x_neg, in.residual, in.halves, in.num_rows, pos_block, neg_block);
}

}  // namespace sbp
