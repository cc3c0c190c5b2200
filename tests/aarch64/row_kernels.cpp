// The row kernels of this program's processor against sums in double, without torch, so that a cross compiler and an
// emulator suffice. Prints the name of the instruction set and the number of failures. Exit status 1: a result is
// wrong.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "cpu/isa/isa.h"

namespace {

#if defined(__aarch64__)
using Float16 = __fp16;
#else
using Float16 = _Float16;
#endif

struct BFloat16 {
  uint16_t bits;
  BFloat16() = default;
  // Round to nearest even; NaN stays NaN.
  explicit BFloat16(float value) {
    uint32_t word;
    std::memcpy(&word, &value, 4);
    bits = value != value ? 0x7fc0 : uint16_t((word + 0x7fff + ((word >> 16) & 1)) >> 16);
  }
  explicit operator double() const {
    const uint32_t word = uint32_t(bits) << 16;
    float value;
    std::memcpy(&value, &word, 4);
    return value;
  }
};

template <class S> constexpr sbp::Type kType = sbp::Type::kFloat32;
template <> constexpr sbp::Type kType<double> = sbp::Type::kFloat64;
template <> constexpr sbp::Type kType<BFloat16> = sbp::Type::kBFloat16;
template <> constexpr sbp::Type kType<Float16> = sbp::Type::kFloat16;
// The rounding error of a result, in units of the sum of the magnitudes of its terms.
template <class S> constexpr double kError = sizeof(S) == 8 ? 1e-14 : sizeof(S) == 4 ? 4e-6 : 4e-3;

template <class S> using Acc = std::conditional_t<sizeof(S) == 8, double, float>;

std::mt19937_64 generator(0);
int failures = 0;

float draw() { return std::uniform_real_distribution<float>(-1, 1)(generator); }
int64_t below(int64_t bound) { return int64_t(generator() % uint64_t(bound)); }

template <class T> std::vector<T> draw(int64_t count) {
  std::vector<T> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(T(draw()));
  return values;
}

// Compare `got` with `want`, whose terms add up to `magnitude` in absolute value.
void check(const std::string& what, double got, double want, double magnitude, double error) {
  if (std::abs(got - want) <= error * (magnitude + 1e-3)) return;
  if (++failures <= 10) std::printf("%s: %.9g instead of %.9g\n", what.c_str(), got, want);
}

constexpr int64_t kRows = 23, kColumns = 17;

// A half of a graph with arrays of its own; every third one has neither weights nor scales.
template <class S, class I> struct Edges {
  std::vector<int64_t> rowptr{0}, group;
  std::vector<I> col;
  std::vector<Acc<S>> weight, row_scale, col_scale, table;
  bool plain;

  Edges(int64_t width, bool is_plain) : plain(is_plain) {
    for (int64_t row = 0; row < kRows; ++row) {
      const int64_t degree = row % 5 == 0 ? 0 : below(9);
      for (int64_t e = 0; e < degree; ++e) col.push_back(I(below(kColumns)));
      rowptr.push_back(int64_t(col.size()));
      group.push_back(below(3));
    }
    weight = draw<Acc<S>>(int64_t(col.size()));
    row_scale = draw<Acc<S>>(kRows);
    col_scale = draw<Acc<S>>(kColumns);
    table = draw<Acc<S>>(3 * width);
  }

  double factor(int64_t row, int64_t e) const {
    return plain ? 1 : double(row_scale[size_t(row)]) * weight[size_t(e)] * col_scale[size_t(col[size_t(e)])];
  }

  sbp::Half half(const std::vector<S>& x, int64_t stride, double coef) const {
    sbp::Half h;
    h.rowptr = rowptr.data();
    h.col = col.data();
    if (!plain) {
      h.weight = weight.data();
      h.row_scale = row_scale.data();
      h.col_scale = col_scale.data();
      h.table = table.data();
      h.group = group.data();
    }
    h.x = x.data();
    h.x_stride = stride;
    h.num_edges = int64_t(col.size());
    h.coef = coef;
    return h;
  }
};

struct Sum {
  double value = 0, magnitude = 0;
  void add(double term) {
    value += term;
    magnitude += std::abs(term);
  }
};

// Feature k of row i of both halves, with the coefficients p and q, a residual and tables.
template <class S, class I> struct Problem {
  int64_t width, stride = width + 3;
  Edges<S, I> edges[2] = {{width, false}, {width, width % 3 == 0}};
  std::vector<S> x = draw<S>(kColumns * stride), residual = draw<S>(kRows * stride);
  double r = 0.5, coef[2] = {0.75, -0.375};

  void add_half(Sum& sum, int h, int64_t i, int64_t k, double scale, bool with_table) const {
    const Edges<S, I>& half = edges[h];
    for (int64_t e = half.rowptr[size_t(i)]; e < half.rowptr[size_t(i) + 1]; ++e)
      sum.add(scale * half.factor(i, e) * double(x[size_t(int64_t(half.col[size_t(e)]) * stride + k)]));
    if (with_table && !half.plain) sum.add(scale * half.table[size_t(half.group[size_t(i)] * width + k)]);
  }

  Sum at(int64_t i, int64_t k, bool with_table = true) const {
    Sum sum;
    sum.add(r * double(residual[size_t(i * stride + k)]));
    for (int h = 0; h < 2; ++h) add_half(sum, h, i, k, coef[h], with_table);
    return sum;
  }

  sbp::SpmmParams params(void* y) const {
    sbp::SpmmParams p;
    for (int h = 0; h < 2; ++h) p.half[h] = edges[h].half(x, stride, coef[h]);
    p.residual = residual.data();
    p.residual_stride = stride;
    p.r = r;
    p.y = y;
    p.num_rows = kRows;
    p.width = p.y_stride = width;
    return p;
  }

  std::string name(const char* kernel) const {
    return std::string(kernel) + ", " + std::to_string(sizeof(S)) + " bytes, width " + std::to_string(width);
  }

  void check_rows(const char* kernel, const std::vector<S>& y, bool with_table = true) const {
    for (int64_t j = 0; j < kRows * width; ++j) {
      const Sum want = at(j / width, j % width, with_table);
      check(name(kernel), double(y[size_t(j)]), want.value, want.magnitude, kError<S>);
    }
  }
};

template <class S, class I> void check_kernels(const sbp::RowKernels& run, int64_t width) {
  const Problem<S, I> problem{width};
  std::vector<S> y(size_t(kRows * width)), y_neg = y;
  const sbp::SpmmParams p = problem.params(y.data());
  run.spmm(p, 0, 11);
  run.spmm(p, 11, kRows);
  problem.check_rows("spmm", y);

  sbp::SpmmParams norm = p;
  std::vector<Acc<S>> rstd(static_cast<size_t>(kRows));
  norm.eps = 1e-5;
  norm.rstd = rstd.data();
  run.spmm(norm, 0, kRows);
  for (int64_t i = 0; width > 1 && i < kRows; ++i) {
    double mean = 0, square = 0;
    for (int64_t k = 0; k < width; ++k) mean += problem.at(i, k).value / double(width);
    for (int64_t k = 0; k < width; ++k) square += std::pow(problem.at(i, k).value - mean, 2) / double(width);
    const double scale = 1 / std::sqrt(square + 1e-5);
    check(problem.name("rstd"), rstd[size_t(i)], scale, scale, 1e-3);
    for (int64_t k = 0; k < width; ++k)
      check(problem.name("norm"), double(y[size_t(i * width + k)]), (problem.at(i, k).value - mean) * scale, 1 + scale,
            10 * kError<S>);
  }

  sbp::SpmmParams pair = p;
  pair.y_neg = y_neg.data();
  for (int h = 0; h < 2; ++h) pair.half[h].coef = 1;
  run.pair(pair, 0, kRows);
  for (int64_t j = 0; j < kRows * width; ++j)
    for (int h = 0; h < 2; ++h) {
      Sum want;
      problem.add_half(want, h, j / width, j % width, 1, true);
      check(problem.name("pair"), double((h == 0 ? y : y_neg)[size_t(j)]), want.value, want.magnitude, kError<S>);
    }

  sbp::DotParams dot;
  std::vector<double> dots(size_t(3 * kRows));
  for (int h = 0; h < 2; ++h) dot.half[h] = pair.half[h];
  dot.y = problem.residual.data();
  dot.y_stride = dot.residual_stride = problem.stride;
  dot.residual = problem.residual.data();
  dot.out = dots.data();
  dot.width = width;
  run.dot(dot, 0, kRows);
  for (int64_t i = 0; i < kRows; ++i)
    for (int part = 0; part < 3; ++part) {
      Sum want;
      for (int64_t k = 0; k < width; ++k) {
        const double own = double(problem.residual[size_t(i * problem.stride + k)]);
        if (part == 0) want.add(own * own);
        if (part > 0) problem.add_half(want, part - 1, i, k, own, true);
      }
      check(problem.name("dot"), dots[size_t(3 * i + part)], want.value, want.magnitude, 1e-5);
    }

  sbp::EdgeDotParams edge;
  const Edges<S, I>& half = problem.edges[0];
  std::vector<Acc<S>> products(half.col.size());
  edge.half = pair.half[0];
  edge.a = problem.residual.data();
  edge.a_stride = problem.stride;
  edge.out = products.data();
  edge.width = width;
  run.edge_dot(edge, 0, kRows);
  for (int64_t i = 0; i < kRows; ++i)
    for (int64_t e = half.rowptr[size_t(i)]; e < half.rowptr[size_t(i) + 1]; ++e) {
      const int64_t j = half.col[size_t(e)];
      Sum want;
      for (int64_t k = 0; k < width; ++k)
        want.add(double(half.row_scale[size_t(i)]) * half.col_scale[size_t(j)] *
                 double(problem.residual[size_t(i * problem.stride + k)]) *
                 double(problem.x[size_t(j * problem.stride + k)]));
      check(problem.name("edge_dot"), products[size_t(e)], want.value, want.magnitude, 1e-5);
    }
}

// Both signs in one CSR, with the factors of an edge in its weight; without tables.
template <class S> void check_merged(const sbp::RowKernels& run, int64_t width) {
  const Problem<S, int32_t> problem{width};
  std::vector<int64_t> start{0};
  std::vector<int32_t> col;
  std::vector<Acc<S>> factor;
  for (int64_t i = 0; i < kRows; ++i)
    for (const auto& half : problem.edges) {
      for (int64_t e = half.rowptr[size_t(i)]; e < half.rowptr[size_t(i) + 1]; ++e) {
        col.push_back(half.col[size_t(e)]);
        factor.push_back(Acc<S>(half.factor(i, e)));
      }
      start.push_back(int64_t(col.size()));
    }
  std::vector<S> y(size_t(kRows * width));
  sbp::SpmmParams p = problem.params(y.data());
  p.half[1] = sbp::Half();
  p.half[0].rowptr = start.data();
  p.half[0].col = col.data();
  p.half[0].weight = factor.data();
  p.half[0].num_edges = int64_t(col.size());
  p.merged.start = start.data();
  p.merged.signs = 2;
  p.merged.two_factors = true;
  p.merged.factor[1] = problem.coef[1] / problem.coef[0];
  run.spmm(p, 0, kRows);
  problem.check_rows("merged spmm", y, false);
}

template <class S> void check_type() {
  const auto& kernels = sbp::kernels().table[int(kType<S>)];
  for (int64_t width = 1; width <= 300; width += width < 70 ? 1 : 29) {
    check_kernels<S, int32_t>(kernels[sbp::kInt32Columns], width);
    check_kernels<S, int64_t>(kernels[sbp::kInt64Columns], width);
    check_merged<S>(kernels[sbp::kMergedCsr], width);
  }
}

// Every 16-bit number survives a pass unchanged, and every 32-bit number is rounded as by the compiler.
template <class S> void check_conversions() {
  constexpr int64_t kCount = int64_t(1) << 16;
  std::vector<S> x(static_cast<size_t>(kCount)), y = x;
  std::vector<float> table(static_cast<size_t>(kCount));
  std::vector<int64_t> rowptr = {0, 1};
  const int32_t col = 0;
  for (int64_t i = 0; i < kCount; ++i) {
    const uint16_t half = uint16_t(i);
    // Numbers near the range of float16 as well as any others.
    const uint32_t word = i % 2 == 0 ? uint32_t(generator()) : 0x32000000u + uint32_t(generator() % 0x16000000u);
    std::memcpy(&x[size_t(i)], &half, 2);
    std::memcpy(&table[size_t(i)], &word, 4);
  }
  sbp::SpmmParams p;
  p.half[0].rowptr = rowptr.data();
  p.half[0].col = &col;
  p.half[0].x = x.data();
  p.half[0].x_stride = p.width = p.y_stride = kCount;
  p.half[0].num_edges = p.num_rows = 1;
  p.half[0].coef = 1;
  p.y = y.data();
  const sbp::RowKernels& run = sbp::kernels().table[int(kType<S>)][sbp::kInt32Columns];
  const auto compare = [&](const char* what, auto want) {
    for (int64_t i = 0; i < kCount; ++i) {
      const S expected = want(i);
      const double a = double(y[size_t(i)]), b = double(expected);
      const bool both_nan = a != a && b != b;
      if (!both_nan && std::memcmp(&y[size_t(i)], &expected, 2) != 0) check(what, 1, 0, 0, 0);
    }
  };
  run.spmm(p, 0, 1);
  // 0 + x turns -0 into 0.
  compare("a number of 16 bits", [&](int64_t i) { return double(x[size_t(i)]) == 0 ? S(0.0f) : x[size_t(i)]; });
  p.half[0] = sbp::Half();
  p.half[0].coef = 1;
  p.half[0].table = table.data();
  run.spmm(p, 0, 1);
  compare("a rounded number", [&](int64_t i) { return S(table[size_t(i)] + 0.0f); });
}

}  // namespace

int main() {
  check_type<float>();
  check_type<double>();
  check_type<BFloat16>();
  check_type<Float16>();
  check_conversions<BFloat16>();
  check_conversions<Float16>();
  std::printf("%s: %d failed\n", sbp::kernels().name, failures);
  return failures > 0;
}
