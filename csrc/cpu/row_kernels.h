// The row kernels of one instruction set: the row pass with its epilogues (none, LayerNorm, both halves separately, dot
// products), and the dot products of edges. Each kernel computes rows [begin, end) on one thread; see row_pass.h.
// Included once per instruction set, like simd.h.
#include "row_pass.h"

// Standardize a row whose squares leave the range of A, or whose deviations are as small as the rounding error of the
// mean: in double, scaled by a power of two, with the mean corrected once. A constant row has a variance of exactly 0
// and becomes zeros, or NaN if eps is 0. A row that is not finite becomes NaN.
template <class A> __attribute__((noinline, cold)) A standardize_scaled(A* z, int64_t width, double eps) {
  double most = __builtin_sqrt(eps);
  for (int64_t k = 0; k < width; ++k) most = __builtin_fmax(most, __builtin_fabs(double(z[k])));
  int exponent = 0;
  if (most < __builtin_inf()) __builtin_frexp(most, &exponent);
  exponent = exponent > 1000 ? 1000 : exponent < -1000 ? -1000 : exponent;
  const double scale = __builtin_ldexp(1.0, -exponent), count = double(width > 0 ? width : 1);
  double mean = 0, square = 0;
  for (int pass = 0; pass < 2; ++pass) {
    double total = 0;
    for (int64_t k = 0; k < width; ++k) total += double(z[k]) * scale - mean;
    mean += total / count;
  }
  for (int64_t k = 0; k < width; ++k) {
    const double centred = double(z[k]) * scale - mean;
    square += centred * centred;
  }
  const double rstd = 1.0 / __builtin_sqrt(square / count + eps * scale * scale);
  for (int64_t k = 0; k < width; ++k) z[k] = A((double(z[k]) * scale - mean) * rstd);
  return A(rstd * scale);
}

// Standardize z in place; return 1 / sqrt(variance + eps).
template <class A> SBP_INLINE A standardize(A* z, int64_t width, double eps) {
  // Squares below kLeast lose digits to underflow. The rounding error of the mean grows with the number of terms per
  // lane, and a deviation of that size may be rounding error only.
  constexpr double kLeast = sizeof(A) == 8 ? 0x1p-969 : 0x1p-102, kRounding = sizeof(A) == 8 ? 0x1p-52 : 0x1p-23;
  const double count = double(width > 0 ? width : 1);
  A total = 0, square = 0;
  each_vector<A>(width, [&](auto lanes, int64_t k) __attribute__((always_inline)) {
    constexpr int W = decltype(lanes)::value;
    total += add_lanes<A, W>(load<W>(z + k));
  });
  const A mean = total / A(count);
  each_vector<A>(width, [&](auto lanes, int64_t k) __attribute__((always_inline)) {
    constexpr int W = decltype(lanes)::value;
    const Vec<A, W> centred = load<W>(z + k) - splat<W>(mean);
    square += add_lanes<A, W>(centred * centred);
  });
  const double variance = double(square) / count + eps;
  // If `total` or `square` is not finite, neither is the variance.
  const double rounding = kRounding * (8 + 0.25 * count) * double(mean);
  const bool in_range = variance >= kLeast + rounding * rounding && variance < __builtin_inf();
  if (__builtin_expect(!in_range, false)) return standardize_scaled(z, width, eps);
  const A rstd = A(1 / __builtin_sqrt(variance));
  each_vector<A>(width, [&](auto lanes, int64_t k) __attribute__((always_inline)) {
    constexpr int W = decltype(lanes)::value;
    store<W>(z + k, (load<W>(z + k) - splat<W>(mean)) * splat<W>(rstd));
  });
  return rstd;
}

// Call f(row, z) for every row in [begin, end), where z is the sum of the row before rounding. Rows are summed in
// blocks that stay in the cache.
template <class S, class I, class F>
SBP_INLINE void each_summed_row(const SpmmParams& p, int64_t begin, int64_t end, F f) {
  constexpr int64_t kBlock = 32;
  using A = Acc<S>;
  A* z = static_cast<A*>(malloc(sizeof(A) * size_t(kBlock * p.width + 1)));
  for (int64_t first = begin; first < end; first += kBlock) {
    const int64_t stop = first + kBlock < end ? first + kBlock : end;
    row_pass<S, I>(p, z, first, stop);
    for (int64_t row = first; row < stop; ++row) f(row, z + (row - first) * p.width);
  }
  free(z);
}

template <class S, class I> void spmm_rows(const SpmmParams& p, int64_t begin, int64_t end) {
  using A = Acc<S>;
  if (p.eps < 0) {
    row_pass<S, I>(p, nullptr, begin, end);
    if (p.non_temporal) fence();
    return;
  }
  each_summed_row<S, I>(p, begin, end, [&](int64_t row, A* z) __attribute__((always_inline)) {
    static_cast<A*>(p.rstd)[row] = standardize<A>(z, p.width, p.eps);
    S* y = static_cast<S*>(p.y) + row * p.width;
    each_vector<A>(p.width, [&](auto lanes, int64_t k) __attribute__((always_inline)) {
      constexpr int W = decltype(lanes)::value;
      if (p.non_temporal)
        store_non_temporal<W>(y + k, load<W>(z + k));
      else
        store<W>(y + k, load<W>(z + k));
    });
  });
  if (p.non_temporal) fence();
}

// A row pass over one half of the graph only.
SBP_INLINE SpmmParams only_half(const Half& half, int64_t width, void* y) {
  SpmmParams p;
  p.half[0] = half;
  p.width = p.y_stride = width;
  p.y = y;
  return p;
}

template <class S, class I> void pair_rows(const SpmmParams& p, int64_t begin, int64_t end) {
  row_pass<S, I>(only_half(p.half[0], p.width, p.y), nullptr, begin, end);
  row_pass<S, I>(only_half(p.half[1], p.width, p.y_neg), nullptr, begin, end);
}

// <a, b> of one row; b has type S or the accumulation type.
template <class S, class B> SBP_INLINE double dot_row(const S* a, const B* b, int64_t width) {
  using A = Acc<S>;
  constexpr int kFull = kLanes<A>;
  // Four independent sums hide the latency of an addition.
  Vec<A, kFull> part[4] = {};
  int64_t k = 0;
  for (; k + 4 * kFull <= width; k += 4 * kFull) {
    for (int u = 0; u < 4; ++u) part[u] += load<kFull>(a + k + u * kFull) * load<kFull>(b + k + u * kFull);
  }
  for (; k + kFull <= width; k += kFull) part[0] += load<kFull>(a + k) * load<kFull>(b + k);
  double sum = double(add_lanes<A, kFull>((part[0] + part[1]) + (part[2] + part[3])));
  for (; k < width; ++k) sum += double((load<1>(a + k) * load<1>(b + k))[0]);
  return sum;
}

template <class S, class I> void dot_rows(const DotParams& p, int64_t begin, int64_t end) {
  using A = Acc<S>;
  for (int64_t row = begin; row < end; ++row) {
    const S* y = at_row<S>(p.y, row, p.y_stride);
    p.out[3 * row] = p.residual == nullptr ? 0 : dot_row(y, at_row<S>(p.residual, row, p.residual_stride), p.width);
  }
  for (int h = 0; h < 2; ++h) {
    const SpmmParams half = only_half(p.half[h], p.width, nullptr);
    each_summed_row<S, I>(half, begin, end, [&](int64_t row, const A* z) __attribute__((always_inline)) {
      p.out[3 * row + 1 + h] = dot_row(at_row<S>(p.y, row, p.y_stride), z, p.width);
    });
  }
}

template <class S, class I> void edge_dot_rows(const EdgeDotParams& p, int64_t begin, int64_t end) {
  using A = Acc<S>;
  const Half& half = p.half;
  const I* col = static_cast<const I*>(half.col);
  const S* b = static_cast<const S*>(half.x);
  for (int64_t row = begin; row < end; ++row) {
    const S* a = at_row<S>(p.a, row, p.a_stride);
    const A scale = value_or_one<A>(half.row_scale, row);
    for (int64_t e = half.rowptr[row]; e < half.rowptr[row + 1]; ++e) {
      prefetch_ahead(half, col, b, e, p.width);
      const int64_t j = col[e];
      const double dot = dot_row(a, b + j * half.x_stride, p.width);
      static_cast<A*>(p.out)[e] = A(dot) * scale * value_or_one<A>(half.col_scale, j);
    }
  }
}

template <class S, class I> void unrounded_rows(const SpmmParams& p, void* out, int64_t begin, int64_t end) {
  row_pass<S, I>(p, static_cast<Acc<S>*>(out) + begin * p.width, begin, end);
}

template <class S, class I> constexpr RowKernels row_kernels() {
  if constexpr (kIsMerged<I>)
    return {spmm_rows<S, I>, nullptr, nullptr, nullptr, nullptr};
  else
    return {spmm_rows<S, I>, pair_rows<S, I>, dot_rows<S, I>, edge_dot_rows<S, I>, unrounded_rows<S, I>};
}

#define SBP_EDGE_FORMATS(S) {row_kernels<S, int32_t>(), row_kernels<S, int64_t>(), row_kernels<S, MergedColumns>()}

// Rows are in the order of sbp::Type, columns in the order of sbp::EdgeFormat.
extern const IsaKernels kKernels;
const IsaKernels kKernels = {
    kName, {SBP_EDGE_FORMATS(float), SBP_EDGE_FORMATS(double), SBP_EDGE_FORMATS(bf16), SBP_EDGE_FORMATS(fp16)}};
#undef SBP_EDGE_FORMATS
