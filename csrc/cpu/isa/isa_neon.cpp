// The row kernels for 64-bit Arm: NEON, which every such processor has, with its conversions of float16.
#include <cstdint>
#include <cstdlib>
#include "isa.h"
#if SBP_NEON
#include <arm_neon.h>
#endif
#include "../../params.h"

#if SBP_NEON

namespace sbp::neon {
namespace {
constexpr int kBytes = 16;
constexpr const char* kName = "NEON";
#define SBP_HAS_F16C 0
#define SBP_HAS_AVX512 0
#define SBP_HAS_NEON 1
#include "../simd.h"
#include "../row_kernels.h"
}  // namespace
const IsaKernels& kernels() { return kKernels; }
}  // namespace sbp::neon
#endif
