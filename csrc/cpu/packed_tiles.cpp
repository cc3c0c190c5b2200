// Packed tiles of features; see packed_tiles.h.
#include "packed_tiles.h"

#include <cstring>

namespace sbp {
namespace {

// The half that says which x is gathered.
const Half& gathering(const SpmmParams& p) { return p.half[p.half[0].rowptr != nullptr ? 0 : 1]; }

int64_t rows_of_x(const SpmmParams& p, const Dtype& type) { return gathering(p).x_bytes / (p.width * type.size); }

const void* shifted(const void* base, int64_t bytes) {
  return base == nullptr ? nullptr : static_cast<const char*>(base) + bytes;
}

// Copy `bytes` at the start of each row of x to consecutive rows of the tile.
void pack(const char* x, int64_t stride_bytes, char* tile, int64_t bytes, int64_t num_rows) {
  const auto cost = [&](int64_t row) { return row * bytes / 4; };
  parallel_rows(num_rows, cost, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      // A copy of a known size takes no call.
      if (bytes == 128)
        std::memcpy(tile + i * 128, x + i * stride_bytes, 128);
      else
        std::memcpy(tile + i * bytes, x + i * stride_bytes, size_t(bytes));
    }
  });
}

// The pass for features [offset, offset + width), with their x in the tile.
SpmmParams tile_of(const SpmmParams& params, const Tensor& tile, int64_t offset, int64_t width, int64_t num_cols,
                   const Dtype& type) {
  SpmmParams p = params;
  p.eps = -1.0;
  p.width = width;
  p.y = static_cast<char*>(params.y) + offset * type.size;
  p.residual = shifted(params.residual, offset * type.size);
  for (Half& half : p.half) {
    half = with_coef(half, num_cols * width * type.size, half.coef);
    half.table = shifted(half.table, offset * (type.size == 8 ? 8 : 4));
    half.x = tile.const_data_ptr();
    half.x_stride = width;
  }
  return p;
}

}  // namespace

bool packs_large(const SpmmParams& p, const Dtype& type) {
  const Half &pos = p.half[0], &neg = p.half[1], &read = gathering(p);
  const CpuTraits& traits = cpu_traits();
  if (p.width * type.size < 2 * traits.tile_bytes) return false;
  if (read.rowptr == nullptr || (pos.rowptr != nullptr && neg.rowptr != nullptr && pos.x != neg.x)) return false;
  // The sums of 16-bit rows would be rounded before LayerNorm.
  if (p.eps >= 0 && type.size < 4) return false;
  const int64_t edges = pos.num_edges + (neg.rowptr == nullptr ? 0 : neg.num_edges);
  const bool large = read.x_bytes > traits.l3_bytes / 2;
  return rows_of_x(p, type) * traits.tile_bytes <= traits.pack_below &&
         edges >= p.num_rows * (large ? traits.pack_degree_large : traits.pack_degree);
}

void run_packed_tiles(const SpmmParams& params, const RowKernels& run, const Dtype& type) {
  const Half& read = gathering(params);
  const int64_t num_cols = rows_of_x(params, type), each = cpu_traits().tile_bytes / type.size;
  // The last tile takes the rest as well, so that no tile is narrower than the others.
  const Tensor tile = new_output(num_cols, each + params.width % each, type);
  char* memory = static_cast<char*>(tile.mutable_data_ptr());
  for (int64_t offset = 0, width = each; offset < params.width; offset += width) {
    if (params.width - offset < 2 * each) width = params.width - offset;
    pack(static_cast<const char*>(read.x) + offset * type.size, read.x_stride * type.size, memory, width * type.size,
         num_cols);
    SpmmParams p = tile_of(params, tile, offset, width, num_cols, type);
    p.non_temporal = params.non_temporal && params.eps < 0;
    run_rows(p, flushes(params), [&](int64_t begin, int64_t end) { run.spmm(p, begin, end); });
  }
  if (params.eps < 0) return;
  // LayerNorm of the sums in y: a row pass without edges.
  SpmmParams norm = params;
  norm.half[0] = norm.half[1] = Half();
  norm.merged = MergedRows();
  norm.residual = params.y;
  norm.residual_stride = params.width;
  norm.r = 1.0;
  const RowKernels& plain = row_kernels(type.size == 8 ? Type::kFloat64 : Type::kFloat32, kInt32Columns);
  run_rows(norm, false, [&](int64_t begin, int64_t end) { plain.spmm(norm, begin, end); });
}

}  // namespace sbp
