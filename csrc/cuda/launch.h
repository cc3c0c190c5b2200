// From operands to a launch: device and stream, storage type, parameters of the row pass, and the error message of a
// failed launch.
#pragma once

#include <stdexcept>
#include <string>

#include "../operands.h"
#include "device.cuh"
#include "params.cuh"

// The tests run the same sources on the CPU and define LAUNCH, the stream and the runtime calls themselves.
#if defined(__CUDACC__)
#define LAUNCH(kernel, grid, block, shared, stream, ...) kernel<<<grid, block, shared, stream>>>(__VA_ARGS__)
#define LAUNCH_COOPERATIVE(kernel, grid, block, shared, stream, args) \
  cooperative_launch(kernel, grid, block, shared, stream, args)
#define SBP_CUDA_LIBRARY(m) STABLE_TORCH_LIBRARY_IMPL(sbp, CUDA, m)
#endif

namespace sbp::device {

// Torch's current stream of the device.
cudaStream_t current_stream(int device);

// Throw an error with the name and shape of the kernel and, if the binary has no code for the device, its
// architectures.
[[noreturn]] void launch_failed(cudaError_t error, const char* kernel, dim3 grid, int shared, int64_t width);

// Make the device current during the lifetime of this object.
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

// The device and stream of one call.
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

  // Launch all blocks at the same time, so that the kernel may synchronise the grid.
  template <class P> void launch_cooperative(const char* name, void (*kernel)(P), dim3 grid, int shared, int64_t width,
                                             const P& args) const {
    const cudaError_t error = LAUNCH_COOPERATIVE(kernel, grid, dim3(kThreads), shared, stream, args);
    if (error != cudaSuccess) launch_failed(error, name, grid, shared, width);
  }
};

// Call f with a value of the storage type.
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

// A function with plain arguments, because nvcc 13.0 miscompiles a braced shape inside a template.
inline Tensor new_matrix(const Tensor& like, int64_t rows, int64_t width, ScalarType type) {
  return torch::stable::new_empty(like, {rows, width}, type);
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// log2 of the lanes that cover `width` features with `per_lane` features each; at most a warp.
inline int log_lanes_for(int64_t width, int64_t per_lane) {
  int log = 0;
  while (log < 5 && (per_lane << log) < width) ++log;
  return log;
}

// Whether rows of `width` numbers at p can be read in vectors of kVec.
template <class S, int kVec> bool aligned(const void* p, int64_t stride, int64_t width) {
  constexpr int64_t kBytes = sizeof(S) * kVec;
  return reinterpret_cast<uintptr_t>(p) % (kBytes < 16 ? kBytes : 16) == 0 && stride % kVec == 0 && width % kVec == 0;
}

// (r, p, q): a tensor on the device in the accumulation type, or numbers.
struct Coefficients {
  Coefficients(Arguments& args, const MaybeTensor& coef, double r, double p, double q)
      : tensor(args.vector("coef", coef, args.acc(), {"numbers", 3})), number{r, p, q} {}
  const void* tensor;
  double number[3];
};

template <class A>
RowPassParams<A> row_pass_params(const Operands& all, const Coefficients& coef, const DegreeBins& bins) {
  RowPassParams<A> params;
  params.half[0] = all.half[0];
  params.half[1] = all.half[1];
  params.bins = bins;
  params.width = all.x.width;
  params.coef_tensor = static_cast<const A*>(coef.tensor);
  for (int i = 0; i < 3; ++i) params.coef[i] = A(coef.number[i]);
  params.residual = all.residual.data;
  params.residual_stride = all.residual.stride;
  return params;
}

// Memory for the sums of the chunks of hub rows. The caller holds it until its launches are queued.
template <class A> MaybeTensor new_partial(const Tensor& x, RowPassParams<A>& params, int64_t sums) {
  if (params.bins.num_chunks == 0) return {};
  Tensor partial = new_matrix(x, params.bins.num_chunks * sums, params.width,
                              sizeof(A) == 8 ? ScalarType::Double : ScalarType::Float);
  params.partial = static_cast<A*>(partial.mutable_data_ptr());
  return partial;
}

}  // namespace sbp::device
