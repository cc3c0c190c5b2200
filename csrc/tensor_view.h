// The properties of a tensor that checks.h looks at, and the names and codes of the types.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "params.h"

#define SBP_COLD inline __attribute__((noinline, cold))

namespace sbp {

using torch::stable::Tensor;

struct Dtype {
  int32_t code;  // of torch's C shim
  int32_t size;
  const char* name;
};

// Each lookup of a code is a call into torch, so the codes are looked up once.
struct Dtypes {
  Dtype features[kNumTypes] = {{aoti_torch_dtype_float32(), 4, "float32"},
                               {aoti_torch_dtype_float64(), 8, "float64"},
                               {aoti_torch_dtype_bfloat16(), 2, "bfloat16"},
                               {aoti_torch_dtype_float16(), 2, "float16"}};
  Dtype int32 = {aoti_torch_dtype_int32(), 4, "int32"}, int64 = {aoti_torch_dtype_int64(), 8, "int64"};
  const Dtype &float32 = features[0], &float64 = features[1];
};
inline const Dtypes kDtypes;

// Reads the properties of a tensor through torch's C shim, which costs a fraction of torch::stable::Tensor's methods.
struct View {
  explicit View(const Tensor& t) {
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_dim(t.get(), &dim));
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_sizes(t.get(), &sizes));
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_strides(t.get(), &strides));
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(t.get(), &dtype));
    TORCH_ERROR_CODE_CHECK(torch_get_const_data_ptr(t.get(), &data));
  }
  // The features of a node are contiguous; the stride between nodes is arbitrary.
  bool has_dense_rows() const { return sizes[1] <= 1 || strides[1] == 1; }
  bool is_dense() const { return has_dense_rows() && (sizes[0] <= 1 || strides[0] == sizes[1]); }

  bool is_same(const View& other) const {
    const auto equal = [&](const int64_t* a, const int64_t* b) { return std::equal(a, a + dim, b); };
    return data == other.data && dim == other.dim && dtype == other.dtype && equal(sizes, other.sizes) &&
           equal(strides, other.strides);
  }

  int64_t dim = 0, *sizes = nullptr, *strides = nullptr;
  int32_t dtype = 0;
  const void* data = nullptr;
};

SBP_COLD std::string describe(const Tensor& t) {
  const View view(t);
  const Dtype others[] = {
      kDtypes.int32,
      kDtypes.int64,
      {aoti_torch_dtype_bool(), 1, "bool"},
      {aoti_torch_dtype_uint8(), 1, "uint8"},
      {aoti_torch_dtype_int8(), 1, "int8"},
      {aoti_torch_dtype_int16(), 2, "int16"},
      {aoti_torch_dtype_complex64(), 8, "complex64"},
      {aoti_torch_dtype_complex128(), 16, "complex128"},
  };
  std::string text = "another type";
  for (const Dtype& type : kDtypes.features)
    if (type.code == view.dtype) text = type.name;
  for (const Dtype& type : others)
    if (type.code == view.dtype) text = type.name;
  text += " [";
  for (int64_t i = 0; i < view.dim; ++i) text += (i > 0 ? ", " : "") + std::to_string(view.sizes[i]);
  return text + "]";
}

}  // namespace sbp
