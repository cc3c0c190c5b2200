// Probes of the roofline: the memory accesses that no row pass can avoid, and nothing else.
//
// `Gather` reads the row of x of every edge, in the order of the graph. It has no rows to end, no factors, no sums and
// no result, so that a row pass on the same threads does strictly more. `stream` reads and writes blocks in order.
// Loaded bytes are combined by XOR: one instruction with its operand in memory per load, and a checksum that does not
// depend on the order, which the tests compare.
#include <omp.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif

// parallel.h expects torch's pool. This file includes nothing of torch, so that it compiles in seconds; torch's pool is
// the same OpenMP library, with the same threads.
namespace torch::stable {

inline int64_t get_num_threads() { return omp_get_max_threads(); }

template <class F> void parallel_for(int64_t begin, int64_t end, int64_t, const F& f) {
#pragma omp parallel for schedule(static, 1)
  for (int64_t i = begin; i < end; ++i) f(i, i + 1);
}

}  // namespace torch::stable

#include "../../csrc/cpu/parallel.h"

namespace {

#if defined(__AVX512F__)
constexpr int64_t kBytes = 64;
#elif defined(__AVX__)
constexpr int64_t kBytes = 32;
#else
constexpr int64_t kBytes = 16;
#endif

template <int64_t kSize> struct BlockOf {
  typedef uint64_t type __attribute__((vector_size(kSize)));
};
template <> struct BlockOf<8> {
  using type = uint64_t;
};
template <int64_t kSize> using Block = typename BlockOf<kSize>::type;
using Vector = Block<kBytes>;

template <class T> inline T load(const char* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

template <class T> inline uint64_t fold(const T& value) {
  uint64_t words[sizeof(T) / 8], sum = 0;
  std::memcpy(words, &value, sizeof(T));
  for (uint64_t word : words) sum ^= word;
  return sum;
}

// The features that the edge `ahead` edges later reads are prefetched, to L1 (hint 3), L2 (hint 2) or not at all.
constexpr int kNoPrefetch = 0, kToL2 = 2, kToL1 = 3;

template <int kHint> inline void prefetch(const char* row, int64_t bytes) {
  if constexpr (kHint != kNoPrefetch) {
    for (int64_t k = 0; k < bytes; k += 64) __builtin_prefetch(row + k, 0, kHint);
  }
}

// XOR of the last bytes of a row, fewer than a vector has.
template <int64_t kSize> inline uint64_t xor_rest(const char* row, int64_t bytes) {
  if constexpr (kSize >= 8) {
    if (bytes >= kSize) return fold(load<Block<kSize>>(row)) ^ xor_rest<kSize / 2>(row + kSize, bytes - kSize);
    return xor_rest<kSize / 2>(row, bytes);
  } else {
    uint64_t sum = 0;
    std::memcpy(&sum, row, size_t(bytes));
    return sum;
  }
}

struct Rows {
  const char* x;
  int64_t bytes;
  const int32_t* col;
};

// The XOR of the rows of edges [begin, end). kVectors: vectors in a row; 0: any number of bytes. kUnroll: edges whose
// loads are issued together.
template <int kVectors, int kUnroll, int kHint>
uint64_t gather_edges(const Rows& rows, int64_t begin, int64_t end, int64_t ahead) {
  constexpr int kSums = kVectors == 0 ? 4 : kVectors;
  const int64_t bytes = kVectors == 0 ? rows.bytes : kVectors * kBytes;
  const char* x = rows.x;
  const int32_t* col = rows.col;
  Vector sums[kSums] = {};
  uint64_t rest = 0;
  const auto add = [&](int64_t e) __attribute__((always_inline)) {
    const char* row = x + int64_t(col[e]) * bytes;
    if constexpr (kVectors > 0) {
      for (int k = 0; k < kVectors; ++k) sums[k] ^= load<Vector>(row + k * kBytes);
    } else {
      int64_t k = 0;
      for (; k + 4 * kBytes <= bytes; k += 4 * kBytes) {
        for (int i = 0; i < 4; ++i) sums[i] ^= load<Vector>(row + k + i * kBytes);
      }
      for (; k + kBytes <= bytes; k += kBytes) sums[0] ^= load<Vector>(row + k);
      if (k < bytes) rest ^= xor_rest<kBytes / 2>(row + k, bytes - k);
    }
  };
  int64_t e = begin;
  for (; e + kUnroll <= end; e += kUnroll) {
    for (int u = 0; u < kUnroll; ++u) prefetch<kHint>(x + int64_t(col[e + u + ahead]) * bytes, bytes);
    for (int u = 0; u < kUnroll; ++u) add(e + u);
  }
  for (; e < end; ++e) add(e);
  for (const Vector& sum : sums) rest ^= fold(sum);
  return rest;
}

using GatherEdges = uint64_t (*)(const Rows&, int64_t, int64_t, int64_t);

template <int kVectors, int kUnroll> GatherEdges with_hint(int hint) {
  if (hint == kToL1) return gather_edges<kVectors, kUnroll, kToL1>;
  if (hint == kToL2) return gather_edges<kVectors, kUnroll, kToL2>;
  return gather_edges<kVectors, kUnroll, kNoPrefetch>;
}

template <int kVectors> GatherEdges with_unroll(int unroll, int hint) {
  if (unroll == 1) return with_hint<kVectors, 1>(hint);
  if (unroll == 2) return with_hint<kVectors, 2>(hint);
  return with_hint<kVectors, 4>(hint);
}

GatherEdges choose(int64_t bytes, int unroll, int hint) {
  if (bytes == kBytes) return with_unroll<1>(unroll, hint);
  if (bytes == 2 * kBytes) return with_unroll<2>(unroll, hint);
  if (bytes == 4 * kBytes) return with_unroll<4>(unroll, hint);
  if (bytes == 8 * kBytes) return with_unroll<8>(unroll, hint);
  return with_unroll<0>(unroll, hint);
}

// Memory in huge pages where the system has them.
class Buffer {
 public:
  explicit Buffer(int64_t bytes) {
    constexpr size_t kPage = size_t(1) << 21;
    const size_t size = (size_t(bytes) / kPage + 1) * kPage;
    data_ = static_cast<char*>(std::aligned_alloc(kPage, size));
    if (data_ == nullptr) throw std::bad_alloc();
#if defined(__linux__)
    madvise(data_, size, MADV_HUGEPAGE);
#endif
  }
  ~Buffer() { std::free(data_); }
  Buffer(const Buffer&) = delete;
  char* data() const { return data_; }

 private:
  char* data_;
};

// Work of `count` items of `bytes` each, in the unit of parallel_rows: one per number of 4 bytes.
template <class F> uint64_t parallel_xor(int64_t count, int64_t bytes, const F& part) {
  std::atomic<uint64_t> total{0};
  sbp::parallel_rows(
      count, [&](int64_t item) { return item * std::max<int64_t>(bytes / 4, 16); },
      [&](int64_t begin, int64_t end) { total ^= part(begin, end); });
  return total;
}

// One way to gather; `tile` is the bytes of a feature tile that is packed first, 0 for none.
struct Variant {
  int hint, unroll;
  int64_t ahead, tile;
};

class Gather {
 public:
  // Tensors: x [num_rows, ...] contiguous, with `row_bytes` in a row, and col [num_edges] in int32. Columns are copied,
  // and padded for the prefetches at the end.
  Gather(pybind11::object x, int64_t row_bytes, const pybind11::object& col)
      : owner_(std::move(x)),
        x_(reinterpret_cast<const char*>(number(owner_, "data_ptr"))),
        num_rows_(number(owner_, "__len__")),
        row_bytes_(row_bytes),
        num_edges_(number(col, "numel")) {
    const int32_t* from = reinterpret_cast<const int32_t*>(number(col, "data_ptr"));
    col_.assign(from, from + num_edges_);
    col_.resize(size_t(num_edges_ + kMaxAhead), 0);
  }

  uint64_t run(const Variant& v) {
    if (v.ahead < 0 || v.ahead > kMaxAhead) throw std::invalid_argument("ahead must be in [0, 64]");
    if (v.tile == 0) return run_rows({x_, row_bytes_, col_.data()}, v);
    if (v.tile < 0 || row_bytes_ % v.tile != 0) throw std::invalid_argument("a tile must divide a row");
    if (!packed_) packed_ = std::make_unique<Buffer>(num_rows_ * row_bytes_ / 2 + 64);
    if (2 * v.tile > row_bytes_) throw std::invalid_argument("a row has at least two tiles");
    uint64_t total = 0;
    for (int64_t offset = 0; offset < row_bytes_; offset += v.tile) {
      char* packed = packed_->data();
      parallel_xor(num_rows_, v.tile, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row)
          std::memcpy(packed + row * v.tile, x_ + row * row_bytes_ + offset, size_t(v.tile));
        return uint64_t(0);
      });
      total ^= run_rows({packed, v.tile, col_.data()}, v);
    }
    return total;
  }

 private:
  static constexpr int64_t kMaxAhead = 64;

  static int64_t number(const pybind11::object& tensor, const char* method) {
    return tensor.attr(method)().cast<int64_t>();
  }

  uint64_t run_rows(const Rows& rows, const Variant& v) {
    const GatherEdges edges = choose(rows.bytes, v.unroll, v.hint);
    return parallel_xor(num_edges_, rows.bytes,
                        [&](int64_t begin, int64_t end) { return edges(rows, begin, end, v.ahead); });
  }

  pybind11::object owner_;
  const char* x_;
  int64_t num_rows_, row_bytes_, num_edges_;
  std::vector<int32_t> col_;
  std::unique_ptr<Buffer> packed_;
};

inline void store_non_temporal(char* p, const Vector& value) {
#if defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(p), reinterpret_cast<const __m512i&>(value));
#elif defined(__AVX__)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), reinterpret_cast<const __m256i&>(value));
#elif defined(__x86_64__)
  _mm_stream_si128(reinterpret_cast<__m128i*>(p), reinterpret_cast<const __m128i&>(value));
#else
  std::memcpy(p, &value, sizeof(value));
#endif
}

// Copy the first `written` 64-byte lines of `source` to `target`, and read the rest of its `read` lines.
template <bool kNonTemporal> uint64_t stream_lines(const char* source, int64_t read, char* target, int64_t written) {
  constexpr int64_t kLine = 64 / kBytes;
  return parallel_xor(std::max(read, written), 128, [&](int64_t begin, int64_t end) {
    Vector sum = {};
    int64_t line = begin;
    for (; line < std::min(end, std::min(read, written)); ++line) {
      for (int64_t k = 0; k < kLine; ++k) {
        const Vector value = load<Vector>(source + 64 * line + k * kBytes);
        if constexpr (kNonTemporal)
          store_non_temporal(target + 64 * line + k * kBytes, value);
        else
          std::memcpy(target + 64 * line + k * kBytes, &value, sizeof(value));
      }
    }
    for (; line < std::min(end, read); ++line) {
      for (int64_t k = 0; k < kLine; ++k) sum ^= load<Vector>(source + 64 * line + k * kBytes);
    }
#if defined(__x86_64__)
    if (kNonTemporal) _mm_sfence();
#endif
    return fold(sum);
  });
}

// Both blocks must begin on 64-byte lines. At least as many lines are read as written.
uint64_t stream(uintptr_t source, int64_t read, uintptr_t target, int64_t written, bool non_temporal) {
  if ((source | target) % 64 != 0) throw std::invalid_argument("blocks must begin on 64-byte lines");
  if (written > read) throw std::invalid_argument("at least as many lines must be read as written");
  const auto lines = non_temporal ? stream_lines<true> : stream_lines<false>;
  return lines(reinterpret_cast<const char*>(source), read, reinterpret_cast<char*>(target), written);
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  pybind11::class_<Gather>(m, "Gather")
      .def(pybind11::init<pybind11::object, int64_t, const pybind11::object&>())
      .def("run", [](Gather& gather, int hint, int unroll, int64_t ahead, int64_t tile) {
        return gather.run({hint, unroll, ahead, tile});
      });
  m.def("stream", stream);
}
