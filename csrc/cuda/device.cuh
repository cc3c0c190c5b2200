// Numbers on the device: storage types, vector loads that convert to the accumulation type, stores that round, and sums
// over the lanes of a warp.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#define SBP_SHARED(type, name)                                \
  extern __shared__ __align__(16) unsigned char sbp_shared[]; \
  type* name = reinterpret_cast<type*>(sbp_shared)
#endif

#define SBP_DEVICE __device__ __forceinline__

namespace sbp::device {

struct bf16 {
  uint16_t bits;
};
struct fp16 {
  uint16_t bits;
};

// The accumulation type: double for double, else float.
template <class S> struct AccOf {
  using type = float;
};
template <> struct AccOf<double> {
  using type = double;
};
template <class S> using Acc = typename AccOf<S>::type;

// The largest finite number.
template <class A> constexpr A kLargest = A(sizeof(A) == 8 ? 0x1.fffffffffffffp+1023 : 0x1.fffffep+127);

constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int kLanes = 32;
#if defined(SBP_WARPS)
constexpr int kWarps = SBP_WARPS;
#else
constexpr int kWarps = 8;
#endif
constexpr int kThreads = kLanes * kWarps;

// The type of one load of kBytes bytes.
template <int kBytes> struct WordOf;
template <> struct WordOf<16> {
  using type = uint4;
};
template <> struct WordOf<8> {
  using type = uint2;
};
template <> struct WordOf<4> {
  using type = unsigned int;
};
template <> struct WordOf<2> {
  using type = unsigned short;
};
template <class T, int kVec> using Word = typename WordOf<sizeof(T) * kVec>::type;

// kFresh: another multiprocessor may have written *p in this launch, so it is read from L2 (ld.global.cg) instead of
// through the read-only path.
template <bool kFresh, class T> SBP_DEVICE T read(const T* p) {
  if constexpr (kFresh) {
    return __ldcg(p);
  } else {
    return __ldg(p);
  }
}

SBP_DEVICE float to_acc(float v) { return v; }
SBP_DEVICE double to_acc(double v) { return v; }
SBP_DEVICE float to_acc(bf16 v) { return __uint_as_float(unsigned(v.bits) << 16); }
SBP_DEVICE float to_acc(fp16 v) {
#if defined(__CUDACC__)
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(v.bits));
  return f;
#else
  return half_bits_to_float(v.bits);
#endif
}

template <class S> SBP_DEVICE S rounded(Acc<S> v) {
  if constexpr (sizeof(S) > 2) {
    return v;
  } else {
    S out;
#if defined(__CUDACC__)
    if constexpr (std::is_same<S, bf16>::value) {
      asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(out.bits) : "f"(v));
    } else {
      asm("cvt.rn.f16.f32 %0, %1;" : "=h"(out.bits) : "f"(v));
    }
#else
    out.bits = std::is_same<S, bf16>::value ? float_to_bf16_bits(v) : float_to_half_bits(v);
#endif
    return out;
  }
}

// Convert the kVec numbers of a word to the accumulation type.
template <class S, int kVec> SBP_DEVICE void unpack(const Word<S, kVec>& word, Acc<S> (&out)[kVec]) {
  S value[kVec];
  memcpy(value, &word, sizeof(word));
#pragma unroll
  for (int k = 0; k < kVec; ++k) out[k] = to_acc(value[k]);
}

template <class S, int kVec> SBP_DEVICE void store(S* p, const Acc<S> (&v)[kVec]) {
  S value[kVec];
#pragma unroll
  for (int k = 0; k < kVec; ++k) value[k] = rounded<S>(v[k]);
  Word<S, kVec> word;
  memcpy(&word, value, sizeof(word));
  *reinterpret_cast<Word<S, kVec>*>(p) = word;
}

// kVec numbers of the accumulation type, in words of at most 16 bytes.
template <class A, int kVec> constexpr int kPart = sizeof(A) * kVec > 16 ? 16 / int(sizeof(A)) : kVec;

template <bool kFresh, class A, int kVec> SBP_DEVICE void load_acc(const A* p, A (&out)[kVec]) {
  constexpr int kPer = kPart<A, kVec>;
#pragma unroll
  for (int k = 0; k < kVec; k += kPer) {
    const auto word = read<kFresh>(reinterpret_cast<const Word<A, kPer>*>(p + k));
    memcpy(out + k, &word, sizeof(word));
  }
}

template <class A, int kVec> SBP_DEVICE void store_acc(A* p, const A (&v)[kVec]) {
  constexpr int kPer = kPart<A, kVec>;
#pragma unroll
  for (int k = 0; k < kVec; k += kPer) {
    Word<A, kPer> word;
    memcpy(&word, v + k, sizeof(word));
    *reinterpret_cast<Word<A, kPer>*>(p + k) = word;
  }
}

// Sum over the lanes whose indices differ only in the bits from `from` up to `to`: a butterfly, so every lane gets the
// same bits.
template <class A> SBP_DEVICE A sum_lanes(A v, int from, int to) {
  for (int offset = from; offset < to; offset *= 2) v += __shfl_xor_sync(kAllLanes, v, offset);
  return v;
}

// Maximum over the same lanes.
template <class A> SBP_DEVICE A max_lanes(A v, int from, int to) {
  for (int offset = from; offset < to; offset *= 2) v = A(fmax(v, __shfl_xor_sync(kAllLanes, v, offset)));
  return v;
}

}  // namespace sbp::device
