// A row is summed in registers, edge by edge in stored order, by one worker: its bits depend on nothing else.
// Included once per instruction set, after simd.h.

// Vectors of one row kept in registers at a time: half of the registers there are.
constexpr int kMaxVecs = kBytes == 64 ? 16 : 8;

// Into the second-level cache: the few line-fill buffers of the first level stay free for the loads
// at hand. On an AMD EPYC this halves the time of the whole pass against a prefetch to the first level.
SBP_INLINE void prefetch_row(const void* row, int64_t bytes) {
  for (int64_t k = 0; k < bytes; k += 64) __builtin_prefetch(static_cast<const char*>(row) + k, 0, 2);
}

// Ask for the row of x that the edge kAhead behind edge e gathers.
template <class S, class I>
SBP_INLINE void prefetch_ahead(const Half& half, const I* col, const S* x, int64_t e, int64_t width) {
  if (e < half.prefetch_end) prefetch_row(x + int64_t(col[e + kAhead]) * half.x_stride, width * int64_t(sizeof(S)));
}

template <class A> SBP_INLINE A value_or_one(const void* array, int64_t i) {
  return array == nullptr ? A(1) : static_cast<const A*>(array)[i];
}

template <class T> SBP_INLINE const T* at_row(const void* base, int64_t row, int64_t stride) {
  return static_cast<const T*>(base) + row * stride;
}

// Where vector k of a tile starts: the last one may reach back, within the tile, so as to end with the row.
template <int W, int NV> SBP_INLINE int64_t start_of(int k, int64_t last) {
  return k == NV - 1 ? last : int64_t(k) * W;
}

// A vector that reaches back is not one of a pair.
template <class S, int NV, bool kReachesBack> constexpr int kPaired =
    kLoadsPairs<S> ? (kReachesBack ? NV - 1 : NV) / 2 * 2 : 0;

// In place of a column type: both signs of a row are one list (`MergedRows`).
struct BothSigns {};
template <class I> constexpr bool kIsMerged = false;
template <> inline constexpr bool kIsMerged<BothSigns> = true;

// acc += factor * row, whose features are in order or, in pairs of vectors, the even ones and then the odd ones.
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

// One loop over both signs: its end is foreseen wrongly once a row, not twice, and every edge has its factor at hand.
// The same bits whether the list has the factors of the signs in its weights or they come with the call.
template <class S, int W, int NV, bool kReachesBack> SBP_INLINE void add_merged_edges(Vec<Acc<S>, W> (&acc)[NV],
                                                                                      const SpmmParams& p, int64_t row,
                                                                                      int64_t offset, int64_t last) {
  using A = Acc<S>;
  const Half& list = p.half[0];
  const int32_t* col = static_cast<const int32_t*>(list.col);
  const A* weight = static_cast<const A*>(list.weight);
  const S* x = static_cast<const S*>(list.x) + offset;
  // One register: the compiler would rather add the offset again for every edge.
  asm("" : "+r"(x));
  const auto add = [&](int64_t e, A factor) __attribute__((always_inline)) {
    prefetch_ahead(list, col, x, e, NV * W);
    add_row<S, W, NV, kReachesBack>(acc, factor, x + int64_t(col[e]) * list.x_stride, last);
  };
  const int64_t* start = p.merged.start + 2 * row;
  const int64_t end = start[p.merged.signs];
  if (!p.merged.apart) {
    for (int64_t e = *start; e < end; ++e) add(e, weight[e]);
  } else {
    // Looked up by the comparison: a choice that the compiler makes a branch of would be foreseen wrongly again.
    const A factor[2] = {A(p.merged.factor[0]), A(p.merged.factor[1])};
    const int64_t split = start[1];
    for (int64_t e = *start; e < end; ++e) add(e, factor[e >= split] * weight[e]);
  }
}

template <class A> SBP_INLINE const A* table_row(const Half& half, int64_t row, int64_t width) {
  if (half.table == nullptr) return nullptr;
  return static_cast<const A*>(half.table) + (half.group == nullptr ? row : half.group[row]) * width;
}

// Features [offset, offset + NV vectors) of rows [begin, end): both sparse sums, the residual and the
// tables meet in registers, and leave in one store: to y, or unrounded to z where that is given.
template <class S, class I, int W, int NV, bool kReachesBack>
__attribute__((noinline)) void sum_tile(const SpmmParams& params, Acc<S>* z, int64_t begin, int64_t end, int64_t offset,
                                        int64_t last) {
  using A = Acc<S>;
  constexpr int kPairs = kPaired<S, NV, kReachesBack>;
  constexpr bool kRounds = sizeof(S) != sizeof(A);
  // A copy that no store can alias: its fields stay in registers. These are few, and short rows feel each of them, so
  // what is read and written row by row is walked along, and z is y where they have one type.
  const SpmmParams p = params;
  const Vec<A, W> r = splat<W>(A(p.r)), coef[2] = {splat<W>(A(p.half[0].coef)), splat<W>(A(p.half[1].coef))};
  const S* residual = p.residual == nullptr ? nullptr : at_row<S>(p.residual, begin, p.residual_stride) + offset;
  const bool streams = !kReachesBack && p.streams && z == nullptr;
  S* y = static_cast<S*>(p.y) + begin * p.width + offset;
  if (!kRounds && z != nullptr) y = reinterpret_cast<S*>(z) + offset;
  for (int64_t row = begin; row < end; ++row, y += p.width) {
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
      const A* table = table_row<A>(p.half[h], row, p.width) + offset;
      for (int k = 0; k < NV; ++k) acc[k] += coef[h] * load<W>(table + start_of<W, NV>(k, last));
    }
    if (kRounds && z != nullptr) {
      A* out = z + (row - begin) * p.width + offset;
      for (int k = 0; k < NV; ++k) store<W>(out + start_of<W, NV>(k, last), acc[k]);
    } else if (streams) {
      for (int k = 0; k < NV; ++k) stream<W>(y + k * W, acc[k]);
    } else {
      for (int k = 0; k < NV; ++k) store<W>(y + start_of<W, NV>(k, last), acc[k]);
    }
  }
}

// What is left behind the full tiles: at most NV vectors of W lanes.
template <class S, class I, int W, int NV>
SBP_INLINE void sum_rest(const SpmmParams& p, Acc<S>* z, int64_t begin, int64_t end, int64_t offset, int64_t rest) {
  if constexpr (NV > 0) {
    if (rest <= int64_t(NV - 1) * W) return sum_rest<S, I, W, NV - 1>(p, z, begin, end, offset, rest);
    if (rest == int64_t(NV) * W) {
      sum_tile<S, I, W, NV, false>(p, z, begin, end, offset, rest - W);
    } else {
      sum_tile<S, I, W, NV, true>(p, z, begin, end, offset, rest - W);
    }
  }
}

// r R + coef A x + ... of rows [begin, end): into p.y, or unrounded into z `[end - begin, width]`, which may be the
// table itself: a tile loads all that it reads of a row before it stores, and tiles do not overlap.
template <class S, class I> void sum_rows(const SpmmParams& p, Acc<S>* z, int64_t begin, int64_t end) {
  constexpr int W = kLanes<Acc<S>>;
  constexpr int64_t kFull = kMaxVecs * W;
  const int64_t width = p.width;
  if (width >= W) {
    // The last tile has at least one whole vector, so that it never reaches back into the tile before it: where z is
    // the table as well, that tile has updated its features already, and they would be added twice.
    const bool borrows = width > kFull && width % kFull != 0 && width % kFull < W;
    const int64_t full_tiles = width - width % kFull - (borrows ? kFull : 0);
    // A row of several tiles is finished before the next: its neighbours' pages are then found once, not once a tile.
    const int64_t rows = width <= kFull ? end - begin : 1;
    for (int64_t row = begin; row < end; row += rows) {
      Acc<S>* const out = z == nullptr ? nullptr : z + (row - begin) * width;
      int64_t offset = 0;
      for (; offset < full_tiles; offset += kFull) {
        sum_tile<S, I, W, kMaxVecs, false>(p, out, row, row + rows, offset, (kMaxVecs - 1) * W);
      }
      if (borrows) {
        sum_tile<S, I, W, kMaxVecs - 2, false>(p, out, row, row + rows, offset, (kMaxVecs - 3) * W);
        offset += kFull - 2 * W;
      }
      sum_rest<S, I, W, kMaxVecs>(p, out, row, row + rows, offset, width - offset);
    }
  } else if (W > 4 && width >= 4) {
    sum_rest<S, I, 4, W / 4>(p, z, begin, end, 0, width);
  } else {
    sum_rest < S, I, 1, W<4 ? W : 4>(p, z, begin, end, 0, width);
  }
}
