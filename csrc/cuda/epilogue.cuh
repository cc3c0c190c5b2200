// Epilogues of the row pass: a struct with the number of sums per row that it needs (kSums) and `finish`, which adds
// the dense terms and stores. The lanes of a group hold one row in registers, so each lane finishes its own features;
// only LayerNorm and Dot exchange data, by shuffles and, in Dot, shared memory. The owner of a row alone writes it.
#pragma once

#include "row_pass.cuh"

namespace sbp::device {

template <class A> SBP_DEVICE const A* table_row(const Half& half, int64_t row, int64_t width) {
  return static_cast<const A*>(half.table) + (half.group == nullptr ? row : __ldg(half.group + row)) * width;
}

// acc += r R + coef+ table+ + coef- table-, at one vector of the row.
template <class S, int kVec, bool kFresh>
SBP_DEVICE void add_dense(const RowPassParams<Acc<S>>& p, int64_t row, int64_t feature, Acc<S> (&acc)[kVec]) {
  using A = Acc<S>;
  const A r = coefficient(p, 0);
  if (p.residual != nullptr && r != A(0)) {
    A value[kVec];
    const S* from = static_cast<const S*>(p.residual) + row * p.residual_stride + feature;
    unpack<S, kVec>(read<kFresh>(reinterpret_cast<const Word<S, kVec>*>(from)), value);
#pragma unroll
    for (int v = 0; v < kVec; ++v) acc[v] += r * value[v];
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const A coef = coefficient(p, 1 + h);
    if (p.half[h].table == nullptr || coef == A(0)) continue;
    A value[kVec];
    load_acc<kFresh, A, kVec>(table_row<A>(p.half[h], row, p.width) + feature, value);
#pragma unroll
    for (int v = 0; v < kVec; ++v) acc[v] += coef * value[v];
  }
}

// Run f(tile, feature) over the vectors of the row that this lane holds.
template <int kVec, int kTile, class F> SBP_DEVICE void each_vector(int64_t width, int log_lanes, int64_t first, F f) {
#pragma unroll
  for (int t = 0; t < kTile; ++t) {
    const int64_t feature = first + (int64_t(t) << log_lanes) * kVec;
    if (feature < width) f(t, feature);
  }
}

// Add to the running sum over steps. The same lane updates a number of it in every step.
template <class S, int kVec, bool kFresh>
SBP_DEVICE void add_to_total(const RowPassParams<Acc<S>>& p, int64_t row, int64_t feature, const Acc<S> (&y)[kVec]) {
  using A = Acc<S>;
  if (p.gamma == nullptr) return;
  A sum[kVec];
  A* total = p.total + row * p.width + feature;
  A first = A(1);
  if (p.step == 1) {
    const S* x = static_cast<const S*>(p.half[0].x) + row * p.half[0].x_stride + feature;
    unpack<S, kVec>(read<kFresh>(reinterpret_cast<const Word<S, kVec>*>(x)), sum);
    first = __ldg(p.gamma);
  } else {
    load_acc<true, A, kVec>(total, sum);
  }
  const A gamma = __ldg(p.gamma + p.step);
#pragma unroll
  for (int v = 0; v < kVec; ++v) sum[v] = first * sum[v] + gamma * y[v];
  if (p.step < p.num_steps) {
    store_acc<A, kVec>(total, sum);
  } else {
    store<S, kVec>(static_cast<S*>(p.total_out) + row * p.width + feature, sum);
  }
}

// Store the sum of a chunk of a hub row before rounding; hub_rows_kernel adds the chunks.
template <class A, int kVec, int kTile, int kSums>
SBP_DEVICE void store_partial(const RowPassParams<A>& p, const Place& at, const A (&acc)[kSums][kTile][kVec]) {
  each_vector<kVec, kTile>(p.width, p.log_lanes, at.feature, [&](int t, int64_t feature) {
#pragma unroll
    for (int s = 0; s < kSums; ++s) {
      store_acc<A, kVec>(p.partial + (int64_t(at.chunk) * kSums + s) * p.width + feature, acc[s][t]);
    }
  });
}

struct Identity {
  static constexpr int kSums = 1;

  template <class S, int kVec, int kTile, bool kFresh>
  static SBP_DEVICE void finish(const RowPassParams<Acc<S>>& p, const Place& at, Acc<S> (&acc)[1][kTile][kVec],
                                Acc<S>*) {
    if (at.row < 0 || !at.owner) return;
    if (at.chunk >= 0) return store_partial<Acc<S>, kVec, kTile, 1>(p, at, acc);
    each_vector<kVec, kTile>(p.width, p.log_lanes, at.feature, [&](int t, int64_t feature) {
      add_dense<S, kVec, kFresh>(p, at.row, feature, acc[0][t]);
      if (p.z != nullptr) {
        store_acc<Acc<S>, kVec>(p.z + at.row * p.width + feature, acc[0][t]);
      } else {
        store<S, kVec>(static_cast<S*>(p.y) + at.row * p.width + feature, acc[0][t]);
        add_to_total<S, kVec, kFresh>(p, at.row, feature, acc[0][t]);
      }
    });
  }
};

// The standardization of a row: z becomes (scale * z - mean) * factor.
template <class A> struct Standardization {
  A scale, mean, factor;
  // 1 / sqrt(variance + eps) of the unscaled row.
  A rstd;
};

// For rows whose squares leave the range of A, or whose deviations are as small as the rounding error of the mean: the
// row is scaled by a power of two and its mean corrected once, so that the variance of a constant row is exactly 0.
template <class A, class E> SBP_DEVICE Standardization<A> scaled_standardization(A inverse, int lanes, A eps, E each) {
  constexpr int kMost = sizeof(A) == 8 ? 1000 : 120;
  A most = A(sqrt(eps));
  each([&](A z) { most = A(fmax(most, A(fabs(z)))); });
  most = max_lanes(most, 1, lanes);
  int exponent = 0;
  if (most <= kLargest<A>) frexp(most, &exponent);
  exponent = exponent > kMost ? kMost : exponent < -kMost ? -kMost : exponent;
  const A scale = A(ldexp(A(1), -exponent));
  A mean = 0, square = 0;
  for (int pass = 0; pass < 2; ++pass) {
    A total = 0;
    each([&](A z) { total += scale * z - mean; });
    mean += sum_lanes(total, 1, lanes) * inverse;
  }
  each([&](A z) { square += (scale * z - mean) * (scale * z - mean); });
  const A variance = sum_lanes(square, 1, lanes) * inverse;
  // The scaled eps may underflow. If the variance is 0, all deviations are 0 and eps need not be scaled.
  if (variance == A(0)) return {scale, mean, A(1) / A(sqrt(eps)), A(1) / A(sqrt(eps))};
  const A factor = A(1) / A(sqrt(variance + eps * scale * scale));
  return {scale, mean, factor, factor * scale};
}

// `each(f)` calls f with every number of the row that this lane holds. All lanes of the warp must call this function;
// `lanes` lanes hold one row, and lanes without a row hold no numbers.
template <class A, class E> SBP_DEVICE Standardization<A> standardization(int64_t width, int lanes, A eps, E each) {
  constexpr A kLeast = A(sizeof(A) == 8 ? 0x1p-969 : 0x1p-102), kRounding = A(sizeof(A) == 8 ? 0x1p-52 : 0x1p-23);
  const A inverse = A(1) / A(width > 0 ? width : 1);
  A total = 0, square = 0;
  each([&](A z) { total += z; });
  const A mean = sum_lanes(total, 1, lanes) * inverse;
  each([&](A z) { square += (z - mean) * (z - mean); });
  const A variance = sum_lanes(square, 1, lanes) * inverse + eps;
  Standardization<A> row{A(1), mean, A(1) / A(sqrt(variance)), A(1) / A(sqrt(variance))};
  // Squares below kLeast lose digits to underflow. The rounding error of the mean grows with the number of terms per
  // lane.
  const A rounding = kRounding * (A(8) + A(0.25) * A(width)) * mean;
  const bool in_range = variance >= kLeast + rounding * rounding && variance <= kLargest<A>;
  if (__any_sync(kAllLanes, !in_range)) {
    const Standardization<A> scaled = scaled_standardization(inverse, lanes, eps, each);
    if (!in_range) row = scaled;
  }
  return row;
}

// Standardize each row in registers; the lanes of a group hold all of it.
struct LayerNorm {
  static constexpr int kSums = 1;

  template <class S, int kVec, int kTile, bool kFresh>
  static SBP_DEVICE void finish(const RowPassParams<Acc<S>>& p, const Place& at, Acc<S> (&acc)[1][kTile][kVec],
                                Acc<S>*) {
    using A = Acc<S>;
    const int lanes = 1 << p.log_lanes;
    const bool whole = at.row >= 0 && at.chunk < 0;
    if (whole) {
      each_vector<kVec, kTile>(p.width, p.log_lanes, at.feature, [&](int t, int64_t feature) {
        add_dense<S, kVec, kFresh>(p, at.row, feature, acc[0][t]);
      });
    }
    const Standardization<A> row = standardization(p.width, lanes, p.eps, [&](auto f) {
      if (!whole) return;
      each_vector<kVec, kTile>(p.width, p.log_lanes, at.feature, [&](int t, int64_t) {
#pragma unroll
        for (int v = 0; v < kVec; ++v) f(acc[0][t][v]);
      });
    });
    if (at.row < 0 || !at.owner) return;
    if (at.chunk >= 0) return store_partial<A, kVec, kTile, 1>(p, at, acc);
    if (p.rstd != nullptr && (threadIdx.x & (lanes - 1)) == 0) p.rstd[at.row] = row.rstd;
    each_vector<kVec, kTile>(p.width, p.log_lanes, at.feature, [&](int t, int64_t feature) {
#pragma unroll
      for (int v = 0; v < kVec; ++v) acc[0][t][v] = (row.scale * acc[0][t][v] - row.mean) * row.factor;
      store<S, kVec>(static_cast<S*>(p.y) + at.row * p.width + feature, acc[0][t]);
      add_to_total<S, kVec, kFresh>(p, at.row, feature, acc[0][t]);
    });
  }
};

// A+ x and A- x as two results.
struct Pair {
  static constexpr int kSums = 2;

  template <class S, int kVec, int kTile, bool kFresh>
  static SBP_DEVICE void finish(const RowPassParams<Acc<S>>& p, const Place& at, Acc<S> (&acc)[2][kTile][kVec],
                                Acc<S>*) {
    using A = Acc<S>;
    if (at.row < 0 || !at.owner) return;
    if (at.chunk >= 0) return store_partial<A, kVec, kTile, 2>(p, at, acc);
    each_vector<kVec, kTile>(p.width, p.log_lanes, at.feature, [&](int t, int64_t feature) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        if (p.half[h].table != nullptr) {
          A value[kVec];
          load_acc<kFresh, A, kVec>(table_row<A>(p.half[h], at.row, p.width) + feature, value);
#pragma unroll
          for (int v = 0; v < kVec; ++v) acc[h][t][v] += value[v];
        }
        store<S, kVec>(static_cast<S*>(h == 0 ? p.y : p.y_neg) + at.row * p.width + feature, acc[h][t]);
      }
    });
  }
};

// <y, R>, <y, A+ x>, <y, A- x> summed over the rows of a block. They are linear, so the chunks of a hub row need no
// second pass.
struct Dot {
  static constexpr int kSums = 2;

  template <class S, int kVec, int kTile, bool kFresh>
  static SBP_DEVICE void finish(const RowPassParams<Acc<S>>& p, const Place& at, Acc<S> (&acc)[2][kTile][kVec],
                                Acc<S>* shared) {
    using A = Acc<S>;
    double sum[3] = {0.0, 0.0, 0.0};
    if (at.row >= 0 && at.owner) {
      // Residual and tables are added once per row, not once per chunk.
      const bool whole = at.chunk < 0 || at.first == 0;
      each_vector<kVec, kTile>(p.width, p.log_lanes, at.feature, [&](int t, int64_t feature) {
        A y[kVec], value[kVec], part[3] = {A(0), A(0), A(0)};
        const S* from = static_cast<const S*>(p.dot_with) + at.row * p.dot_stride + feature;
        unpack<S, kVec>(read<kFresh>(reinterpret_cast<const Word<S, kVec>*>(from)), y);
        if (whole && p.residual != nullptr) {
          from = static_cast<const S*>(p.residual) + at.row * p.residual_stride + feature;
          unpack<S, kVec>(read<kFresh>(reinterpret_cast<const Word<S, kVec>*>(from)), value);
#pragma unroll
          for (int v = 0; v < kVec; ++v) part[0] += y[v] * value[v];
        }
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          if (whole && p.half[h].table != nullptr) {
            load_acc<kFresh, A, kVec>(table_row<A>(p.half[h], at.row, p.width) + feature, value);
#pragma unroll
            for (int v = 0; v < kVec; ++v) acc[h][t][v] += value[v];
          }
#pragma unroll
          for (int v = 0; v < kVec; ++v) part[1 + h] += y[v] * acc[h][t][v];
        }
#pragma unroll
        for (int i = 0; i < 3; ++i) sum[i] += double(part[i]);
      });
    }
    // Add lanes, then warps, in a fixed order: one triple per block.
    double* block_sum = reinterpret_cast<double*>(shared);
    const int warp = threadIdx.x / kLanes;
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      sum[i] = sum_lanes(sum[i], 1, kLanes);
      if (threadIdx.x % kLanes == 0) block_sum[3 * warp + i] = sum[i];
    }
    __syncthreads();
    if (threadIdx.x < 3) {
      double total = 0.0;
      for (int w = 0; w < kWarps; ++w) total += block_sum[3 * w + threadIdx.x];
      p.dot_out[3 * (int64_t(blockIdx.y) * gridDim.x + blockIdx.x) + threadIdx.x] = total;
    }
  }
};

}  // namespace sbp::device
