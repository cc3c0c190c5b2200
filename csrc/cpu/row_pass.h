// The row pass: y = r R + coef+ A+ x + coef- A- x' for a range of rows, with tables of dense terms.
//
// One thread computes a row. It sums a tile of features (up to kMaxVecs vector registers) over the edges in stored
// order, adds residual and tables in registers, and stores once. A thread writes only its own rows and reads x, which
// no thread writes during a pass, so no synchronisation is needed and results do not depend on the number of threads.
// Included once per instruction set, after simd.h.

// Vectors of one row that are in registers at a time: half of the vector registers.
constexpr int kMaxVecs = kBytes == 64 ? 16 : 8;

// Locality 3 is L1, 2 is L2. Which is better depends on the processor (see cpu_traits).
template <int kLocality> SBP_INLINE void prefetch_row(const void* row, int64_t bytes) {
  for (int64_t k = 0; k < bytes; k += 64) __builtin_prefetch(static_cast<const char*>(row) + k, 0, kLocality);
}

// Prefetch the row of x that the edge `prefetch_distance` edges after e gathers.
template <class S, class I>
SBP_INLINE void prefetch_ahead(const Half& half, const I* col, const S* x, int64_t e, int64_t width) {
  if (e >= half.prefetch_end) return;
  const S* row = x + int64_t(col[e + half.prefetch_distance]) * half.x_stride;
  const int64_t bytes = width * int64_t(sizeof(S));
  if (half.prefetch_to_l1)
    prefetch_row<3>(row, bytes);
  else
    prefetch_row<2>(row, bytes);
}

template <class A> SBP_INLINE A value_or_one(const void* array, int64_t i) {
  return array == nullptr ? A(1) : static_cast<const A*>(array)[i];
}

template <class T> SBP_INLINE const T* at_row(const void* base, int64_t row, int64_t stride) {
  return static_cast<const T*>(base) + row * stride;
}

// Where vector k of a tile begins. The last one may reach back within the tile, so that it ends with the row.
template <int W, int NV> SBP_INLINE int64_t start_of(int k, int64_t last) {
  return k == NV - 1 ? last : int64_t(k) * W;
}

// Vectors that are loaded in pairs; a vector that reaches back is not in a pair.
template <class S, int NV, bool kReachesBack> constexpr int kPaired =
    kLoadsPairs<S> ? (kReachesBack ? NV - 1 : NV) / 2 * 2 : 0;

// Stands in for the column type if the edges are a merged CSR (`MergedRows`).
struct MergedColumns {};
template <class I> constexpr bool kIsMerged = false;
template <> inline constexpr bool kIsMerged<MergedColumns> = true;

// acc += factor * row. The features in acc are in order or, in pairs of vectors, the even features before the odd ones.
template <class S, int W, int NV, bool kReachesBack>
SBP_INLINE void add_row(Vec<Acc<S>, W> (&acc)[NV], Acc<S> factor, const S* row, int64_t last) {
  using A = Acc<S>;
  constexpr int kPairs = kPaired<S, NV, kReachesBack>;
  const Vec<A, W> factors = splat<W>(factor);
  if constexpr (kPairs > 0) {
    for (int k = 0; k < kPairs; k += 2) {
      Vec<A, W> even, odd;
      load_even_odd<W>(row + k * W, even, odd);
      acc[k] += factors * even;
      acc[k + 1] += factors * odd;
    }
  }
  for (int k = kPairs; k < NV; ++k) acc[k] += factors * load<W>(row + start_of<W, NV>(k, last));
}

template <class S, class I, int W, int NV, bool kReachesBack>
SBP_INLINE void add_edges(Vec<Acc<S>, W> (&acc)[NV], const Half& half, int64_t row, int64_t offset, int64_t last) {
  using A = Acc<S>;
  const I* col = static_cast<const I*>(half.col);
  const S* x = static_cast<const S*>(half.x) + offset;
  const A base = A(half.coef) * value_or_one<A>(half.row_scale, row);
  const int64_t end = half.rowptr[row + 1];
  for (int64_t e = half.rowptr[row]; e < end; ++e) {
    prefetch_ahead(half, col, x, e, NV * W);
    const int64_t j = col[e];
    const A factor = base * value_or_one<A>(half.weight, e) * value_or_one<A>(half.col_scale, j);
    add_row<S, W, NV, kReachesBack>(acc, factor, x + j * half.x_stride, last);
  }
}

// One loop over both signs has one mispredicted exit per row instead of two, and loads the factor of an edge directly.
// Results have the same bits whether the weights include the factors of the signs or the call passes these factors.
template <class S, int W, int NV, bool kReachesBack> SBP_INLINE void add_merged_edges(Vec<Acc<S>, W> (&acc)[NV],
                                                                                      const SpmmParams& p, int64_t row,
                                                                                      int64_t offset, int64_t last) {
  using A = Acc<S>;
  const Half& merged = p.half[0];
  const int32_t* col = static_cast<const int32_t*>(merged.col);
  const A* weight = static_cast<const A*>(merged.weight);
  const S* x = static_cast<const S*>(merged.x) + offset;
  // Keep x + offset in a register: the compiler would otherwise add the offset again for every edge.
  asm("" : "+r"(x));
  const auto add = [&](int64_t e, A factor) __attribute__((always_inline)) {
    prefetch_ahead(merged, col, x, e, NV * W);
    add_row<S, W, NV, kReachesBack>(acc, factor, x + int64_t(col[e]) * merged.x_stride, last);
  };
  const int64_t* start = p.merged.start + 2 * row;
  const int64_t end = start[p.merged.signs];
  if (!p.merged.two_factors) {
    for (int64_t e = *start; e < end; ++e) add(e, weight[e]);
  } else {
    // The comparison is an index, because the compiler would turn a choice into a branch, which is mispredicted again.
    const A factor[2] = {A(p.merged.factor[0]), A(p.merged.factor[1])};
    const int64_t split = start[1];
    for (int64_t e = *start; e < end; ++e) add(e, factor[e >= split] * weight[e]);
  }
}

template <class A> SBP_INLINE const A* table_row(const Half& half, int64_t row, int64_t stride) {
  if (half.table == nullptr) return nullptr;
  return static_cast<const A*>(half.table) + (half.group == nullptr ? row : half.group[row]) * stride;
}

// Compute features [offset, offset + NV vectors) of rows [begin, end): add both sparse sums, the residual and the
// tables in registers, then store once, to y or, before rounding, to z if it is given.
template <class S, class I, int W, int NV, bool kReachesBack>
__attribute__((noinline)) void row_pass_tile(const SpmmParams& params, Acc<S>* z, int64_t begin, int64_t end,
                                             int64_t offset, int64_t last) {
  using A = Acc<S>;
  constexpr int kPairs = kPaired<S, NV, kReachesBack>;
  constexpr bool kRounds = sizeof(S) != sizeof(A);
  // No store can alias this copy, so its fields stay in registers. Registers are few and each one is measurable on
  // short rows, so pointers advance from row to row, and y stands for z if both have the same type.
  const SpmmParams p = params;
  const Vec<A, W> r = splat<W>(A(p.r)), coef[2] = {splat<W>(A(p.half[0].coef)), splat<W>(A(p.half[1].coef))};
  const S* residual = p.residual == nullptr ? nullptr : at_row<S>(p.residual, begin, p.residual_stride) + offset;
  const bool non_temporal = !kReachesBack && p.non_temporal && z == nullptr;
  S* y = static_cast<S*>(p.y) + begin * p.y_stride + offset;
  if (!kRounds && z != nullptr) y = reinterpret_cast<S*>(z) + offset;
  for (int64_t row = begin; row < end; ++row, y += p.y_stride) {
    Vec<A, W> acc[NV] = {};
    if constexpr (kIsMerged<I>) {
      add_merged_edges<S, W, NV, kReachesBack>(acc, p, row, offset, last);
      for (int k = 0; k < NV; ++k) acc[k] *= coef[0];
    } else {
      for (int h = 0; h < 2; ++h) {
        if (p.half[h].rowptr != nullptr) add_edges<S, I, W, NV, kReachesBack>(acc, p.half[h], row, offset, last);
      }
    }
    if constexpr (kPairs > 0) {
      for (int k = 0; k < kPairs; k += 2) interleave<W>(acc[k], acc[k + 1]);
    }
    if (residual != nullptr) {
      for (int k = 0; k < NV; ++k) acc[k] += r * load<W>(residual + start_of<W, NV>(k, last));
      residual += p.residual_stride;
    }
    for (int h = 0; h < 2; ++h) {
      if (kIsMerged<I> || p.half[h].table == nullptr) continue;
      const A* table = table_row<A>(p.half[h], row, p.y_stride) + offset;
      for (int k = 0; k < NV; ++k) acc[k] += coef[h] * load<W>(table + start_of<W, NV>(k, last));
    }
    if (kRounds && z != nullptr) {
      A* out = z + (row - begin) * p.y_stride + offset;
      for (int k = 0; k < NV; ++k) store<W>(out + start_of<W, NV>(k, last), acc[k]);
    } else if (non_temporal) {
      for (int k = 0; k < NV; ++k) store_non_temporal<W>(y + k * W, acc[k]);
    } else {
      for (int k = 0; k < NV; ++k) store<W>(y + start_of<W, NV>(k, last), acc[k]);
    }
  }
}

// The features after the last full tile: at most NV vectors of W lanes.
template <class S, class I, int W, int NV> SBP_INLINE void row_pass_rest(const SpmmParams& p, Acc<S>* z, int64_t begin,
                                                                         int64_t end, int64_t offset, int64_t rest) {
  if constexpr (NV > 0) {
    if (rest <= int64_t(NV - 1) * W) return row_pass_rest<S, I, W, NV - 1>(p, z, begin, end, offset, rest);
    if (rest == int64_t(NV) * W) {
      row_pass_tile<S, I, W, NV, false>(p, z, begin, end, offset, rest - W);
    } else {
      row_pass_tile<S, I, W, NV, true>(p, z, begin, end, offset, rest - W);
    }
  }
}

// Compute rows [begin, end) into p.y or, before rounding, into z `[end - begin, y_stride]`. z may be the memory of the
// table: a tile loads all features that it reads of a row before it stores, and tiles do not overlap.
template <class S, class I> void row_pass(const SpmmParams& p, Acc<S>* z, int64_t begin, int64_t end) {
  constexpr int W = kLanes<Acc<S>>;
  constexpr int64_t kFull = kMaxVecs * W;
  const int64_t width = p.width;
  if (width >= W) {
    // The last tile has at least one whole vector, so that it never reaches back into the tile before it. If z is the
    // memory of the table, that tile has already updated its features, and they would be added twice.
    const bool borrows = width > kFull && width % kFull != 0 && width % kFull < W;
    const int64_t full_tiles = width - width % kFull - (borrows ? kFull : 0);
    // All tiles of a row come before the next row: the TLB then looks up the pages of its neighbours once, not per
    // tile.
    const int64_t rows = width <= kFull ? end - begin : 1;
    for (int64_t row = begin; row < end; row += rows) {
      Acc<S>* const out = z == nullptr ? nullptr : z + (row - begin) * p.y_stride;
      int64_t offset = 0;
      for (; offset < full_tiles; offset += kFull) {
        row_pass_tile<S, I, W, kMaxVecs, false>(p, out, row, row + rows, offset, (kMaxVecs - 1) * W);
      }
      if (borrows) {
        row_pass_tile<S, I, W, kMaxVecs - 2, false>(p, out, row, row + rows, offset, (kMaxVecs - 3) * W);
        offset += kFull - 2 * W;
      }
      row_pass_rest<S, I, W, kMaxVecs>(p, out, row, row + rows, offset, width - offset);
    }
  } else if (W > 4 && width >= 4) {
    row_pass_rest<S, I, 4, W / 4>(p, z, begin, end, 0, width);
  } else {
    row_pass_rest < S, I, 1, W<4 ? W : 4>(p, z, begin, end, 0, width);
  }
}
