// Vectors of W numbers in the compiler's vector types, loads that convert to the accumulation type, stores that round.
// Included once per instruction set, inside a namespace of that set. It has no include guard and uses nothing of the
// standard library, whose inline functions would otherwise be compiled for a newer processor and shared with all code.

using bf16 = struct Bf16 {
  uint16_t bits;
};
using fp16 = struct Fp16 {
  uint16_t bits;
};

template <class S> struct AccOf {
  using type = float;
};
template <> struct AccOf<double> {
  using type = double;
};
template <class S> using Acc = typename AccOf<S>::type;

template <class T, int W> struct VecOf {
  typedef T type __attribute__((vector_size(W * sizeof(T))));
};
template <class T, int W> using Vec = typename VecOf<T, W>::type;

// Lanes of a full vector of the accumulation type.
template <class A> constexpr int kLanes = kBytes / sizeof(A);

#define SBP_INLINE inline __attribute__((always_inline))

template <class V, class T> SBP_INLINE V load_raw(const T* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof(V));
  return v;
}

template <class T, class V> SBP_INLINE void store_raw(T* p, V v) { __builtin_memcpy(p, &v, sizeof(V)); }

template <class To, class From> SBP_INLINE To bits_as(From from) {
  To to;
  static_assert(sizeof(To) == sizeof(From), "a cast of bits keeps the size");
  __builtin_memcpy(&to, &from, sizeof(To));
  return to;
}

template <int W> SBP_INLINE Vec<float, W> half_to_float(Vec<uint16_t, W> h) {
  using U = Vec<uint32_t, W>;
  const U bits = __builtin_convertvector(h, U);
  const U magnitude = (bits & 0x7fffu) << 13;
  // The exponent is biased by 127 instead of 15. A subnormal number m 2^-24 is (2^-14 + m 2^-24) - 2^-14, which holds
  // in a thread that flushes subnormal floats, too.
  const U normal = magnitude + (112u << 23);
  const U tiny = bits_as<U>(bits_as<Vec<float, W>>(magnitude + (113u << 23)) - 0x1p-14f);
  const U is_tiny = bits_as<U>(magnitude < (1u << 23));
  const U special = bits_as<U>(magnitude >= (0x7c00u << 13)) & 0x7f800000u;
  return bits_as<Vec<float, W>>((tiny & is_tiny) | (normal & ~is_tiny) | special | ((bits & 0x8000u) << 16));
}

// Round to nearest even, as the hardware does.
SBP_INLINE uint16_t float_to_half(float value) {
  const uint32_t bits = bits_as<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return uint16_t(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return uint16_t(sign | 0x7c00u);
  if (magnitude < 0x38800000u) {
    // Subnormal: adding 0.5 aligns the last bit of the result with that of the float, so that the addition rounds.
    const float shifted = bits_as<float>(magnitude) + 0.5f;
    return uint16_t(sign | (bits_as<uint32_t>(shifted) - 0x3f000000u));
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return uint16_t(sign | ((rounded - 0x38000000u) >> 13));
}

template <int W> SBP_INLINE Vec<uint32_t, W> round_to_bf16(Vec<float, W> v) {
  using U = Vec<uint32_t, W>;
  const U bits = bits_as<U>(v);
  const U rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const U is_nan = bits_as<U>(v != v);
  return (rounded & ~is_nan) | (0x7fc0u & is_nan);
}

template <int W> SBP_INLINE Vec<float, W> load(const float* p) { return load_raw<Vec<float, W>>(p); }
template <int W> SBP_INLINE Vec<double, W> load(const double* p) { return load_raw<Vec<double, W>>(p); }

template <int W> SBP_INLINE Vec<float, W> load(const bf16* p) {
  using U = Vec<uint32_t, W>;
  return bits_as<Vec<float, W>>(__builtin_convertvector(load_raw<Vec<uint16_t, W>>(p), U) << 16);
}

template <int W> SBP_INLINE Vec<float, W> load(const fp16* p) {
#if SBP_HAS_F16C
  if constexpr (W == 8) return (Vec<float, 8>)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
#if SBP_HAS_AVX512
  if constexpr (W == 16) return (Vec<float, 16>)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
#endif
#endif
#ifdef SBP_HAS_NEON
  if constexpr (W == 4) return bits_as<Vec<float, 4>>(vcvt_f32_f16(load_raw<float16x4_t>(p)));
#endif
  return half_to_float<W>(load_raw<Vec<uint16_t, W>>(p));
}

// A vector of sums rounded to the type of the pointer.
template <int W> SBP_INLINE Vec<float, W> rounded(const float*, Vec<float, W> v) { return v; }
template <int W> SBP_INLINE Vec<double, W> rounded(const double*, Vec<double, W> v) { return v; }

template <int W> SBP_INLINE Vec<uint16_t, W> rounded(const bf16*, Vec<float, W> v) {
  return __builtin_convertvector(round_to_bf16<W>(v), Vec<uint16_t, W>);
}

template <int W> SBP_INLINE Vec<uint16_t, W> rounded(const fp16*, Vec<float, W> v) {
#if SBP_HAS_F16C
  if constexpr (W == 8) return bits_as<Vec<uint16_t, W>>(_mm256_cvtps_ph((__m256)v, 0));
#if SBP_HAS_AVX512
  if constexpr (W == 16) return bits_as<Vec<uint16_t, W>>(_mm512_cvtps_ph((__m512)v, 0));
#endif
#endif
#ifdef SBP_HAS_NEON
  if constexpr (W == 4) return bits_as<Vec<uint16_t, W>>(vcvt_f16_f32(bits_as<float32x4_t>(v)));
#endif
  Vec<uint16_t, W> half;
  for (int i = 0; i < W; ++i) half[i] = float_to_half(v[i]);
  return half;
}

template <int W, class S> SBP_INLINE void store(S* p, Vec<Acc<S>, W> v) { store_raw(p, rounded<W>(p, v)); }

// Store past the caches. p must be aligned to the size of the store. Non-temporal stores are weakly ordered: call
// `fence` after the last one, before another thread may read the memory.
template <int W, class S> SBP_INLINE void store_non_temporal(S* p, Vec<Acc<S>, W> v) {
  const auto bits = rounded<W>(p, v);
#if SBP_HAS_F16C
  if constexpr (sizeof(bits) == 16) return _mm_stream_si128((__m128i*)p, bits_as<__m128i>(bits));
  if constexpr (sizeof(bits) == 32) return _mm256_stream_si256((__m256i*)p, bits_as<__m256i>(bits));
#if SBP_HAS_AVX512
  if constexpr (sizeof(bits) == 64) return _mm512_stream_si512((__m512i*)p, bits_as<__m512i>(bits));
#endif
#endif
  store_raw(p, bits);
}

SBP_INLINE void fence() {
#if SBP_HAS_F16C
  _mm_sfence();
#endif
}

// For bf16, load two vectors at once, the even and the odd elements of 2 W numbers: each takes one instruction to
// become float. A conversion in order would cost a shuffle per load.
template <class S> constexpr bool kLoadsPairs = false;
template <> inline constexpr bool kLoadsPairs<bf16> = true;

template <int W> SBP_INLINE void load_even_odd(const bf16* p, Vec<float, W>& even, Vec<float, W>& odd) {
  using U = Vec<uint32_t, W>;
  const U both = load_raw<U>(p);
  even = bits_as<Vec<float, W>>(both << 16);
  odd = bits_as<Vec<float, W>>(both & 0xffff0000u);
}

// Once per row, put the elements of an even and an odd vector back in order.
template <int W> SBP_INLINE void interleave(Vec<float, W>& even, Vec<float, W>& odd) {
  if constexpr (W == 1) return;
  const Vec<float, W> e = even, o = odd;
#if defined(__clang__)
  for (int i = 0; i < W; ++i) {
    (i < W / 2 ? even : odd)[2 * i % W] = e[i];
    (i < W / 2 ? even : odd)[2 * i % W + 1] = o[i];
  }
#else
  Vec<int32_t, W> low, high;
  for (int i = 0; i < W; ++i) {
    low[i] = i / 2 + (i % 2) * W;
    high[i] = W / 2 + i / 2 + (i % 2) * W;
  }
  even = __builtin_shuffle(e, o, low);
  odd = __builtin_shuffle(e, o, high);
#endif
}

// Subtract 0 rather than add it: x + 0 changes the bits of x = -0, so the compiler would emit the addition.
template <int W, class A> SBP_INLINE Vec<A, W> splat(A value) { return value - Vec<A, W>{}; }

template <class A, int W> SBP_INLINE A add_lanes(Vec<A, W> v) {
  A sum = 0;
  for (int i = 0; i < W; ++i) sum += v[i];
  return sum;
}

template <int W> struct Width {
  static constexpr int value = W;
};

// Call f(Width<W>, k) over [0, width): full vectors, then vectors of 4, then single elements; each element once.
template <class A, class F> SBP_INLINE void each_vector(int64_t width, F f) {
  constexpr int kFull = kLanes<A>;
  int64_t k = 0;
  for (; k + kFull <= width; k += kFull) f(Width<kFull>{}, k);
  if constexpr (kFull > 4) {
    for (; k + 4 <= width; k += 4) f(Width<4>{}, k);
  }
  for (; k < width; ++k) f(Width<1>{}, k);
}
