// The row kernels, compiled for x86-64-v3: AVX2, FMA, F16C.
#include <cstdint>
#include <cstdlib>
#include "isa.h"
#if SBP_MULTI_ISA
#include <immintrin.h>
#endif
#include "../../params.h"

#if SBP_MULTI_ISA

#pragma GCC target("arch=x86-64-v3")
namespace sbp::avx2 {
namespace {
constexpr int kBytes = 32;
constexpr const char* kName = "AVX2";
#define SBP_HAS_F16C 1
#define SBP_HAS_AVX512 0
#include "../simd.h"
#include "../row_kernels.h"
}  // namespace
const IsaKernels& kernels() { return kKernels; }
}  // namespace sbp::avx2
#endif
