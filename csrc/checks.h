// Checks of the ops' arguments. Ops get data pointers from `Arguments` only, which checks rank, type, device and size
// of each tensor in O(1). Strides are not checked: a tensor whose layout the kernels cannot read is copied. Unless the
// caller is trusted, the contents of index arrays are checked too, in O(edges). A failed check is a RuntimeError in
// Python: one sentence with the rule and the offending value.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <initializer_list>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tensor_view.h"

namespace sbp {

using MaybeTensor = std::optional<Tensor>;

// Larger sizes are refused before anything is allocated.
constexpr int64_t kMaxSize = int64_t(1) << 40;

// Rows of features: the numbers of a row are contiguous, rows are `stride` numbers apart.
struct Features {
  const void* data = nullptr;
  int64_t rows = 0, width = 0, stride = 0;
};

// An argument's name, in two parts: "pos_" and "weight".
struct Name {
  const char *sign, *part;
  Name(const char* part) : sign(""), part(part) {}
  Name(const char* sign, const char* part) : sign(sign), part(part) {}
  std::string text() const { return std::string(sign) + part; }
};

// One axis of a shape: what it counts, and its required length (any length if < 0).
struct Axis {
  const char* name;
  int64_t size;
  std::string text() const { return size < 0 ? name : std::string(name) + "=" + std::to_string(size); }
};

class Arguments {
 public:
  Arguments(const char* op, bool trusted) : op_(op), trusted_(trusted) {}
  Arguments(const Arguments&) = delete;

  Type type() const { return type_; }
  const Dtype& dtype() const { return kDtypes.features[int(type_)]; }
  // The accumulation type, which is also the type of weights, scales and tables.
  const Dtype& acc() const { return type_ == Type::kFloat64 ? kDtypes.float64 : kDtypes.float32; }
  bool trusted() const { return trusted_; }
  // Whether columns are int64; false if no half has columns.
  bool int64_columns() const { return int64_columns_; }

  // For ops without features.
  void set_type(Type type) { type_ = type; }

  // The first argument. All others must have its type and device.
  Features first(const Name& name, const Tensor& t) {
    const View view(t);
    int type = 0;
    while (type < kNumTypes && kDtypes.features[type].code != view.dtype) ++type;
    if (type == kNumTypes || view.dim != 2)
      refuse(name.text() + " must be float32, float64, bfloat16 or float16 of shape [rows, features], got " +
             describe(t));
    type_ = static_cast<Type>(type);
    // The dispatcher never passes a tensor of another device to a CPU kernel, so only CUDA kernels check the device.
    if (t.is_cuda()) bind(t);
    return rows_of(name, t, view);
  }

  // Features of the first argument's type.
  Features features(const Name& name, const Tensor& t, Axis rows, int64_t width) {
    const View view(t);
    if (view.dim != 2 || view.dtype != dtype().code || (rows.size >= 0 && view.sizes[0] != rows.size) ||
        view.sizes[1] != width)
      refuse_shape(name, dtype().name, {rows, {"features", width}}, t);
    return rows_of(name, t, view);
  }

  // A contiguous matrix. If rows.size < 0, it may have any number of rows, which num_rows receives.
  const void* matrix(const Name& name, const Tensor& t, const Dtype& type, Axis rows, Axis columns,
                     int64_t* num_rows = nullptr) {
    const View view(t);
    if (view.dim != 2 || view.dtype != type.code || (rows.size >= 0 && view.sizes[0] != rows.size) ||
        view.sizes[1] != columns.size)
      refuse_shape(name, type.name, {rows, columns}, t);
    if (num_rows != nullptr) *num_rows = view.sizes[0];
    return data_of(name, t, view, type, view.is_dense());
  }

  // A contiguous vector. If axis.size < 0, it may have any length, which size receives.
  const void* vector(const Name& name, const Tensor& t, const Dtype& type, Axis axis, int64_t* size = nullptr) {
    const View view(t);
    if (view.dim != 1 || view.dtype != type.code || (axis.size >= 0 && view.sizes[0] != axis.size))
      refuse_shape(name, type.name, {axis}, t);
    if (size != nullptr) *size = view.sizes[0];
    return data_of(name, t, view, type, view.sizes[0] <= 1 || view.strides[0] == 1);
  }

  const void* vector(const Name& name, const MaybeTensor& t, const Dtype& type, Axis axis) {
    return t.has_value() ? vector(name, *t, type, axis) : nullptr;
  }

  const int64_t* int64s(const Name& name, const Tensor& t, Axis axis, int64_t* size = nullptr) {
    return static_cast<const int64_t*>(vector(name, t, kDtypes.int64, axis, size));
  }

  // A vector of int32 or int64 numbers; is_int64 says which.
  const void* index(const Name& name, const Tensor& t, Axis axis, int64_t* size, bool* is_int64) {
    int32_t code = 0;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(t.get(), &code));
    *is_int64 = code == kDtypes.int64.code;
    return vector(name, t, *is_int64 ? kDtypes.int64 : kDtypes.int32, axis, size);
  }

  // Columns, which must have the same type in both halves.
  const void* columns(const Name& name, const Tensor& t, int64_t* size) {
    bool is_int64 = false;
    const void* data = index(name, t, {"num_edges", -1}, size, &is_int64);
    if (has_columns_ && is_int64 != int64_columns_)
      refuse(name.text() + " must have the type of pos_col, " + (int64_columns_ ? "int64" : "int32") + ", got " +
             describe(t));
    has_columns_ = true;
    int64_columns_ = is_int64;
    return data;
  }

  int64_t size(const Name& name, int64_t value) const {
    if (value < 0 || value > kMaxSize)
      refuse(name.text() + " must lie in [0, " + std::to_string(kMaxSize) + "], got " + std::to_string(value));
    return value;
  }

  void index_below(const Name& name, const void* index, bool is_int64, int64_t size, int64_t limit) const {
    if (!trusted_)
      is_int64 ? all_below(name, static_cast<const int64_t*>(index), size, limit)
               : all_below(name, static_cast<const int32_t*>(index), size, limit);
  }

  // Check that offsets run from 0 to `last`.
  void ascends(const Name& name, const int64_t* offsets, int64_t size, int64_t last) const {
    if (!trusted_) check_offsets(name, offsets, size, last);
  }

  template <class I>
  __attribute__((noinline)) void all_below(const Name& name, const I* index, int64_t size, int64_t limit) const {
    // Converted to unsigned, a negative index is too large as well.
    bool bad = false;
    for (int64_t i = 0; i < size; ++i) bad |= uint64_t(int64_t(index[i])) >= uint64_t(limit);
    if (!bad) return;
    const auto [low, high] = std::minmax_element(index, index + size);
    refuse(name.text() + " must lie in [0, " + std::to_string(limit) + "), got values from " + std::to_string(*low) +
           " to " + std::to_string(*high));
  }

  __attribute__((noinline)) void check_offsets(const Name& name, const int64_t* offsets, int64_t size,
                                               int64_t last) const {
    bool falls = false;
    for (int64_t i = 1; i < size; ++i) falls |= offsets[i] < offsets[i - 1];
    if (falls || size < 1 || offsets[0] != 0 || offsets[size - 1] != last)
      refuse(name.text() + " must run from 0 to " + std::to_string(last) + " without decreasing, got " +
             (falls ? "a smaller number behind a larger one"
                    : std::to_string(size < 1 ? 0 : offsets[0]) + " to " +
                          std::to_string(size < 1 ? 0 : offsets[size - 1])));
  }

  [[noreturn]] SBP_COLD void refuse(const std::string& sentence) const {
    throw std::runtime_error("sbp::" + std::string(op_) + ": " + sentence);
  }

 private:
  [[noreturn]] SBP_COLD void refuse_shape(const Name& name, const char* type, std::initializer_list<Axis> axes,
                                          const Tensor& t) const {
    std::string shape;
    for (const Axis& axis : axes) shape += (shape.empty() ? "" : ", ") + axis.text();
    refuse(name.text() + " must be " + type + " of shape [" + shape + "], got " + describe(t));
  }

  SBP_COLD void bind(const Tensor& t) {
    device_ = t.get_device_index();
    if (!trusted_) refuse("the contents of index arrays are not checked on CUDA: pass trusted=True if they are valid");
  }

  Features rows_of(const Name& name, const Tensor& t, const View& view) {
    const bool as_is = view.has_dense_rows();
    const int64_t stride = as_is ? view.strides[0] : view.sizes[1];
    return {data_of(name, t, view, dtype(), as_is), view.sizes[0], view.sizes[1], stride};
  }

  const void* data_of(const Name& name, const Tensor& t, const View& view, const Dtype& type, bool as_is) {
    if (device_ >= 0 && (!t.is_cuda() || t.get_device_index() != device_))
      refuse(name.text() + " must be on the same CUDA device as the other tensors");
    if (!as_is) return copy(t, view);
    if (view.data == nullptr || (reinterpret_cast<uintptr_t>(view.data) & uintptr_t(type.size - 1)) != 0)
      refuse_memory(name, t, view);
    return view.data;
  }

  // x is often the residual as well: both then share one copy.
  SBP_COLD const void* copy(const Tensor& t, const View& view) {
    for (const auto& [from, made] : copies_)
      if (from.is_same(view)) return made.const_data_ptr();
    copies_.emplace_back(view, torch::stable::contiguous(t));
    return copies_.back().second.const_data_ptr();
  }

  SBP_COLD void refuse_memory(const Name& name, const Tensor& t, const View& view) const {
    if (t.numel() == 0) return;
    refuse(name.text() + (view.data == nullptr ? " has no memory behind it" : " is not aligned to its type"));
  }

  const char* op_;
  bool trusted_;
  Type type_ = Type::kFloat32;
  int32_t device_ = -1;  // CUDA device index; < 0: the CPU
  bool has_columns_ = false, int64_columns_ = false;
  std::vector<std::pair<View, Tensor>> copies_;
};

// LayerNorm needs 0 <= eps < infinity. If LayerNorm is optional, any eps < 0 stands for none.
inline void check_eps(const Arguments& args, double eps, bool optional) {
  if (!(eps < std::numeric_limits<double>::infinity()) || (eps < 0 && !optional))
    args.refuse("eps must be finite" + std::string(optional ? ", or negative for none" : " and >= 0") + ", got " +
                std::to_string(eps));
}

inline void check_steps(const Arguments& args, int64_t num_steps, int64_t num_rows, int64_t num_cols) {
  if (num_steps < 1 || num_steps > INT32_MAX)
    args.refuse("num_steps must lie in [1, 2147483647], got " + std::to_string(num_steps));
  if (num_rows != num_cols)
    args.refuse("several steps need a square graph, got " + std::to_string(num_rows) + "x" + std::to_string(num_cols));
}

}  // namespace sbp
