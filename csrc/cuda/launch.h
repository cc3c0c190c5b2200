// From torch's tensors to a launch: device, stream, type, and what to say when a launch fails.
#pragma once

#include <stdexcept>
#include <string>

#include "../args.h"
#include "device.cuh"

// The tests run the same sources on the CPU: they bring their own LAUNCH, stream and guard.
#if defined(__CUDACC__)
#define LAUNCH(kernel, grid, block, shared, stream, ...) kernel<<<grid, block, shared, stream>>>(__VA_ARGS__)
#define LAUNCH_COOPERATIVE(kernel, grid, block, shared, stream, args) \
  cooperative_launch(kernel, grid, block, shared, stream, args)
#define SBP_CUDA_LIBRARY(m) STABLE_TORCH_LIBRARY_IMPL(sbp, CUDA, m)
#endif

namespace sbp::device {

// Torch's current stream of the device.
cudaStream_t current_stream(int device);

// Throw with the kernel's name, its shape and, where that is the reason, what the binary was built for.
[[noreturn]] void launch_failed(cudaError_t error, const char* kernel, dim3 grid, int shared, int64_t width);

// Make the device current for a while.
class Guard {
 public:
  explicit Guard(int device) {
    cudaGetDevice(&before_);
    changed_ = before_ != device;
    if (changed_) cudaSetDevice(device);
  }
  ~Guard() {
    if (changed_) cudaSetDevice(before_);
  }
  Guard(const Guard&) = delete;

 private:
  int before_ = 0;
  bool changed_ = false;
};

#if defined(__CUDACC__)
template <class P>
cudaError_t cooperative_launch(void (*kernel)(P), dim3 grid, dim3 block, int shared, cudaStream_t stream, P args) {
  void* list[] = {&args};
  return cudaLaunchCooperativeKernel(reinterpret_cast<const void*>(kernel), grid, block, list, size_t(shared), stream);
}
#endif

// The device and stream that one call works on.
struct Context {
  explicit Context(const Tensor& x) : device(x.get_device_index()), guard(device), stream(current_stream(device)) {}
  int device;
  Guard guard;
  cudaStream_t stream;

  template <class... P, class... A>
  void launch(const char* name, void (*kernel)(P...), dim3 grid, int shared, int64_t width, const A&... args) const {
    if (grid.x == 0 || grid.y == 0) return;
    LAUNCH(kernel, grid, dim3(kThreads), shared, stream, args...);
    const cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess) launch_failed(error, name, grid, shared, width);
  }

  // All blocks at once, so that the kernel may wait for the whole grid.
  template <class P> void launch_cooperative(const char* name, void (*kernel)(P), dim3 grid, int shared, int64_t width,
                                             const P& args) const {
    const cudaError_t error = LAUNCH_COOPERATIVE(kernel, grid, dim3(kThreads), shared, stream, args);
    if (error != cudaSuccess) launch_failed(error, name, grid, shared, width);
  }
};

// Call f with a number of the storage type.
template <class F> void by_type(Type type, const F& f) {
  switch (type) {
    case Type::kFloat32:
      return f(float{});
    case Type::kFloat64:
      return f(double{});
    case Type::kBFloat16:
      return f(bf16{});
    case Type::kFloat16:
      return f(fp16{});
  }
}

inline ScalarType acc_type(const Arguments& args) {
  return args.type() == Type::kFloat64 ? ScalarType::Double : ScalarType::Float;
}

// Plain arguments: nvcc 13.0 garbles a braced shape inside a template.
inline Tensor new_matrix(const Tensor& like, int64_t rows, int64_t width, ScalarType type) {
  return torch::stable::new_empty(like, {rows, width}, type);
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Lanes, as a power of two, that cover `width` features with kVec * kTile each; at most a warp.
inline int log_lanes_for(int64_t width, int64_t per_lane) {
  int log = 0;
  while (log < 5 && (per_lane << log) < width) ++log;
  return log;
}

// True if rows of `width` numbers from here on can be read kVec at a time.
template <class S, int kVec> bool aligned(const void* p, int64_t stride, int64_t width) {
  constexpr int64_t kBytes = sizeof(S) * kVec;
  return reinterpret_cast<uintptr_t>(p) % (kBytes < 16 ? kBytes : 16) == 0 && stride % kVec == 0 && width % kVec == 0;
}

}  // namespace sbp::device
