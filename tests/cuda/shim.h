// The part of CUDA that the device code needs, on a CPU: every thread is a fiber, blocks run one after another. For tests
// only. Lanes run in either order, so that a missing barrier changes results. A barrier or shuffle that some threads never
// reach is an error.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define SBP_CUDA_LIBRARY(m) STABLE_TORCH_LIBRARY_IMPL(sbp_shim, CPU, m)
#define SBP_SHARED(type, name) type* name = static_cast<type*>(shim::shared_memory())
// Blocks of two warps run the same code as blocks of eight, in a quarter of the time.
#define SBP_WARPS 2
#define LAUNCH(kernel, grid, block, shared, stream, ...) shim::launch(false, kernel, grid, block, shared, __VA_ARGS__)
#define LAUNCH_COOPERATIVE(kernel, grid, block, shared, stream, args) \
  (shim::launch(true, kernel, grid, block, shared, args), cudaSuccess)

struct dim3 {
  unsigned x, y, z;
  explicit dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct uint4 {
  unsigned x, y, z, w;
} __attribute__((aligned(16)));
struct uint2 {
  unsigned x, y;
} __attribute__((aligned(8)));

namespace shim {

struct Index {
  unsigned x = 0, y = 0, z = 0;
};
extern Index thread, block;
extern dim3 grid_size;

void* shared_memory();
// Wait for all threads of the block, of the warp, or of the grid.
void wait_block();
void wait_warp();
void wait_grid();
// The bits that lane `from` of this warp passed to the same exchange.
uint64_t exchange(uint64_t bits, int from);
int lane();
// Run body(context) once per thread of every block; all blocks at once if `cooperative`.
void run(dim3 grid, dim3 block, int shared, void (*body)(void*), void* context, bool cooperative);

template <class... P, class... A>
void launch(bool cooperative, void (*kernel)(P...), dim3 grid, dim3 block, int shared, const A&... args) {
  std::tuple<void (*)(P...), std::tuple<std::decay_t<P>...>> call{kernel, std::tuple<std::decay_t<P>...>(args...)};
  run(
      grid, block, shared,
      [](void* p) {
        auto& c = *static_cast<decltype(call)*>(p);
        std::apply(std::get<0>(c), std::get<1>(c));
      },
      &call, cooperative);
}

template <class T> T exchanged(T value, int from) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = exchange(bits, from);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace shim

#define threadIdx shim::thread
#define blockIdx shim::block
#define gridDim shim::grid_size

inline void __syncthreads() { shim::wait_block(); }
inline void __syncwarp() { shim::wait_warp(); }
template <class T> T __shfl_xor_sync(unsigned, T v, int offset) { return shim::exchanged(v, shim::lane() ^ offset); }
template <class T> T __shfl_sync(unsigned, T v, int from) { return shim::exchanged(v, from); }
inline int __any_sync(unsigned, int predicate) {
  for (int offset = 1; offset < 32; offset *= 2) predicate |= __shfl_xor_sync(0, predicate, offset);
  return predicate;
}
template <class T> T __ldg(const T* p) { return *p; }
template <class T> T __ldcg(const T* p) { return *p; }

inline float __uint_as_float(unsigned bits) {
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}
inline unsigned bits_of(float f) {
  unsigned bits;
  std::memcpy(&bits, &f, 4);
  return bits;
}
inline uint16_t float_to_bf16_bits(float v) {
  const unsigned bits = bits_of(v);
  return v != v ? uint16_t(0x7fc0) : uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
inline float half_bits_to_float(uint16_t h) {
  const unsigned magnitude = (h & 0x7fffu) << 13;
  const unsigned special = magnitude >= (0x7c00u << 13) ? 0x7f800000u : 0u;
  const unsigned scaled = bits_of(__uint_as_float(magnitude) * 0x1p112f);
  return __uint_as_float(scaled | special | (unsigned(h & 0x8000u) << 16));
}
inline uint16_t float_to_half_bits(float value) {
  const unsigned bits = bits_of(value), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return uint16_t(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return uint16_t(sign | 0x7c00u);
  if (magnitude < 0x38800000u) return uint16_t(sign | (bits_of(__uint_as_float(magnitude) + 0.5f) - 0x3f000000u));
  return uint16_t(sign | ((magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13));
}

// The runtime calls that the host side makes.
using cudaStream_t = void*;
enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidDeviceFunction = 98,
  cudaErrorNoKernelImageForDevice = 209,
  cudaErrorUnsupportedPtxVersion = 222
};
enum cudaDeviceAttr {
  cudaDevAttrComputeCapabilityMajor,
  cudaDevAttrComputeCapabilityMinor,
  cudaDevAttrCooperativeLaunch,
  cudaDevAttrMultiProcessorCount,
  cudaDevAttrL2CacheSize
};
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
// A device of three multiprocessors and 1 MiB of cache; SBP_SHIM_COOPERATIVE=0 disables cooperative launches.
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr what, int) {
  const char* asked = std::getenv("SBP_SHIM_COOPERATIVE");
  *value = what == cudaDevAttrL2CacheSize ? 1 << 20 : what == cudaDevAttrMultiProcessorCount ? 3 : 1;
  if (what == cudaDevAttrCooperativeLaunch && asked != nullptr && *asked == '0') *value = 0;
  return cudaSuccess;
}
template <class F> cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, F, int, size_t) {
  return *blocks = 2, cudaSuccess;
}
inline const char* cudaGetErrorString(cudaError_t) { return "an error of the shim"; }
