// Choose the row kernels for this processor, once per process.
#include "isa.h"

#include <cstdlib>
#include <cstring>

namespace sbp {
namespace {

const IsaKernels& choose() {
#if SBP_MULTI_ISA || SBP_NEON
  const char* limit = std::getenv("SBP_CPU_ISA");
#endif
#if SBP_MULTI_ISA
  const bool no_avx512 = limit != nullptr && std::strcmp(limit, "avx512") != 0;
  const bool no_avx2 = no_avx512 && std::strcmp(limit, "avx2") != 0;
  if (!no_avx512 && __builtin_cpu_supports("x86-64-v4")) return avx512::kernels();
  if (!no_avx2 && __builtin_cpu_supports("x86-64-v3")) return avx2::kernels();
#elif SBP_NEON
  if (limit == nullptr || std::strcmp(limit, "neon") == 0) return neon::kernels();
#endif
  return base::kernels();
}

}  // namespace

const IsaKernels& kernels() {
  static const IsaKernels& chosen = choose();
  return chosen;
}

}  // namespace sbp
