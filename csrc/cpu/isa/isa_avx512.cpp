// The row kernels, compiled for x86-64-v4: AVX-512 F, BW, CD, DQ, VL.
#include <cstdint>
#include <cstdlib>
#include "isa.h"
#if SBP_MULTI_ISA
#include <immintrin.h>
#endif
#include "../../params.h"

#if SBP_MULTI_ISA

#pragma GCC target("arch=x86-64-v4")
namespace sbp::avx512 {
namespace {
constexpr int kBytes = 64;
constexpr const char* kName = "AVX-512";
#define SBP_HAS_F16C 1
#define SBP_HAS_AVX512 1
#include "../simd.h"
#include "../row_kernels.h"
}  // namespace
const IsaKernels& kernels() { return kKernels; }
}  // namespace sbp::avx512
#endif
