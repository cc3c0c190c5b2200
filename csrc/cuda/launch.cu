// Torch's current stream, found at run time instead of by linking libtorch_cuda, so that one binary loads with CPU and
// CUDA builds of torch; and the error message of a failed launch.
#include "launch.h"

#if defined(__CUDACC__)
#include <dlfcn.h>
#endif

namespace sbp::device {

#if defined(__CUDACC__)

namespace {

using StreamGetter = int32_t (*)(int32_t, void**);

// A process with a CUDA tensor has loaded libtorch_cuda, but without global symbols.
StreamGetter find_stream_getter() {
  void* library = dlopen("libtorch_cuda.so", RTLD_NOLOAD | RTLD_LAZY);
  void* symbol = library == nullptr ? nullptr : dlsym(library, "aoti_torch_get_current_cuda_stream");
  if (symbol == nullptr)
    throw std::runtime_error(
        "sbp-kernels: found no aoti_torch_get_current_cuda_stream in libtorch_cuda.so; it needs a CUDA build of torch "
        ">= 2.10");
  return reinterpret_cast<StreamGetter>(symbol);
}

#define SBP_TEXT_OF(...) #__VA_ARGS__
#define SBP_TEXT(...) SBP_TEXT_OF(__VA_ARGS__)

}  // namespace

cudaStream_t current_stream(int device) {
  static const StreamGetter getter = find_stream_getter();
  void* stream = nullptr;
  if (getter(device, &stream) != 0)
    throw std::runtime_error("sbp-kernels: torch gave no stream for device " + std::to_string(device));
  return static_cast<cudaStream_t>(stream);
}

#else
#define SBP_TEXT(...) "none"
#endif

void launch_failed(cudaError_t error, const char* kernel, dim3 grid, int shared, int64_t width) {
  std::string text = std::string("sbp-kernels: ") + kernel + " failed to launch with grid (" + std::to_string(grid.x) +
                     ", " + std::to_string(grid.y) + "), " + std::to_string(kThreads) + " threads, " +
                     std::to_string(shared) + " bytes of shared memory, width " + std::to_string(width) + ": " +
                     cudaGetErrorString(error);
  if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction ||
      error == cudaErrorUnsupportedPtxVersion) {
    int device = 0, major = 0, minor = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
    const std::string arch = std::to_string(major) + "." + std::to_string(minor);
    text +=
        "; this binary carries code for " SBP_TEXT(__CUDA_ARCH_LIST__) " (100 x compute capability), the device has " +
        arch + ": rebuild with TORCH_CUDA_ARCH_LIST=" + arch;
  }
  throw std::runtime_error(text);
}

}  // namespace sbp::device

#if defined(__CUDACC__)
namespace {
std::string cuda_archs() { return SBP_TEXT(__CUDA_ARCH_LIST__); }
}  // namespace

STABLE_TORCH_LIBRARY_IMPL(sbp, CompositeExplicitAutograd, m) { m.impl("cuda_archs", TORCH_BOX(&cuda_archs)); }
#endif
