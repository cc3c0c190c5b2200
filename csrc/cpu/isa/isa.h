// The instruction sets that this binary has row kernels for, and the choice between them at run time.
#pragma once

#include "../../params.h"

// The target pragma for x86-64 levels needs gcc 12. Other compilers build the baseline only.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define SBP_MULTI_ISA 1
#else
#define SBP_MULTI_ISA 0
#endif

#if defined(__aarch64__) && defined(__ARM_NEON) && defined(__GNUC__)
#define SBP_NEON 1
#else
#define SBP_NEON 0
#endif

namespace sbp {

namespace base {
const IsaKernels& kernels();
}
namespace avx2 {
const IsaKernels& kernels();
}
namespace avx512 {
const IsaKernels& kernels();
}

namespace neon {
const IsaKernels& kernels();
}

// The kernels of the best instruction set of the processor. SBP_CPU_ISA=baseline|avx2|avx512|neon, read once, limits
// it.
const IsaKernels& kernels();

}  // namespace sbp
