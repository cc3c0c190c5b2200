// FlushSubnormals: while it lives, this thread treats subnormal inputs as 0 and writes 0 for subnormal results.
//
// Linear steps on a normalized signed graph decay below the smallest normal number (1e-38 in float32) after some
// hundred steps, and each operation on a subnormal number then takes about 100 cycles. The mode is a property of the
// thread, so it is restored for the code that runs on the thread afterwards.
#pragma once

#include <cstdint>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace sbp {

class FlushSubnormals {
 public:
  explicit FlushSubnormals(bool enabled) : enabled_(enabled) {
    if (!enabled) return;
#if defined(__SSE2__)
    // Bit 15: flush results to zero; bit 6: inputs are zero.
    saved_ = _mm_getcsr();
    _mm_setcsr(static_cast<unsigned>(saved_) | 0x8040u);
#elif defined(__aarch64__)
    // Bit 24: both.
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    asm volatile("msr fpcr, %0" ::"r"(saved_ | (uint64_t(1) << 24)));
#endif
  }
  ~FlushSubnormals() {
    if (!enabled_) return;
#if defined(__SSE2__)
    _mm_setcsr(static_cast<unsigned>(saved_));
#elif defined(__aarch64__)
    asm volatile("msr fpcr, %0" ::"r"(saved_));
#endif
  }
  FlushSubnormals(const FlushSubnormals&) = delete;
  FlushSubnormals& operator=(const FlushSubnormals&) = delete;

 private:
  bool enabled_;
  uint64_t saved_ = 0;
};

}  // namespace sbp
