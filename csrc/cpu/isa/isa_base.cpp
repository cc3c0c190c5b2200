// The row kernels, compiled for the baseline of the platform (SSE2 on x86-64), with no conversion instructions.
#include <cstdint>
#include <cstdlib>

#include "../../params.h"

namespace sbp::base {
namespace {
constexpr int kBytes = 16;
constexpr const char* kName = "baseline";
#define SBP_HAS_F16C 0
#define SBP_HAS_AVX512 0
#include "../simd.h"
#include "../row_kernels.h"
}  // namespace
const IsaKernels& kernels() { return kKernels; }
}  // namespace sbp::base
