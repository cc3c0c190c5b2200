// From torch's tensors to a launch: device, stream, type, and what to say when a launch fails.
#pragma once

#include <stdexcept>
#include <string>

#include "../op_args.h"
#include "device.cuh"
#include "params.cuh"

#define SBP_OPERANDS read_operands(args, x, x_neg, residual, SBP_HALF_OF(pos), SBP_HALF_OF(neg), num_rows)

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

// Without a plan every row gets a warp.
inline RowPlan plan_of(Arguments& args, const PlanTensors& tensors, int64_t num_rows) {
  const Plan given = read_plan(args, tensors, num_rows);
  RowPlan plan;
  if (!given.given) {
    plan.num_warp_rows = num_rows;
    return plan;
  }
  if (given.num_chunks > INT32_MAX || num_rows > INT32_MAX)
    args.refuse("a plan holds at most 2147483647 rows and chunks, got " + std::to_string(num_rows) + " and " +
                std::to_string(given.num_chunks));
  plan.chunk = static_cast<const int32_t*>(given.chunk);
  plan.hub = static_cast<const int32_t*>(given.hub);
  plan.block_rows = static_cast<const int32_t*>(given.block_rows);
  plan.warp_rows = static_cast<const int32_t*>(given.warp_rows);
  plan.light_rows = static_cast<const int32_t*>(given.light_rows);
  plan.num_chunks = int(given.num_chunks);
  plan.num_hubs = int(given.num_hubs);
  plan.num_block_rows = int(given.num_block_rows);
  plan.num_warp_rows = given.num_warp_rows;
  plan.num_light_rows = given.num_light_rows;
  return plan;
}

// (r, p, q), on the device where they come as a tensor; then in the accumulation type.
struct Coefficients {
  Coefficients(Arguments& args, const MaybeTensor& coef, double r, double p, double q)
      : tensor(args.vector("coef", coef, args.acc(), {"numbers", 3})), number{r, p, q} {}
  const void* tensor;
  double number[3];
};

template <class A> SignedSpmmParams<A> spmm_params(const Operands& all, const Coefficients& coef, const RowPlan& plan) {
  SignedSpmmParams<A> params;
  params.half[0] = all.half[0];
  params.half[1] = all.half[1];
  params.plan = plan;
  params.width = all.x.width;
  params.coef_tensor = static_cast<const A*>(coef.tensor);
  for (int i = 0; i < 3; ++i) params.coef[i] = A(coef.number[i]);
  params.residual = all.residual.data;
  params.residual_stride = all.residual.stride;
  return params;
}

// Room for the chunks of hubs, kept by the caller until its launches are queued.
template <class A> MaybeTensor partial_of(const Tensor& x, SignedSpmmParams<A>& params, int64_t sums) {
  if (params.plan.num_chunks == 0) return {};
  Tensor partial = new_matrix(x, params.plan.num_chunks * sums, params.width,
                              sizeof(A) == 8 ? ScalarType::Double : ScalarType::Float);
  params.partial = static_cast<A*>(partial.mutable_data_ptr());
  return partial;
}

}  // namespace sbp::device
