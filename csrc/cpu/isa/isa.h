// Which instruction sets this build carries, and the one that the processor at hand gets.
#pragma once

#include "../../params.h"

// The target pragma for whole processor levels needs gcc 12; elsewhere the baseline serves.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define SBP_MULTI_ISA 1
#else
#define SBP_MULTI_ISA 0
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

// The best set that the processor runs; SBP_CPU_ISA=baseline|avx2|avx512, read once, asks for less.
const IsaKernels& kernels();

}  // namespace sbp
