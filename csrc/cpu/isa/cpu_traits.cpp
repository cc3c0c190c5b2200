// The traits of known processors. Each number names the device that it was measured on; benchmarks/NOTES.md has the
// measurements.
#include "cpu_traits.h"

#include <cstdlib>
#include <fstream>
#include <stdexcept>

#if defined(__linux__)
#include <unistd.h>
#endif

namespace sbp {
namespace {

// The bytes of a cache: from sysfs (index 2 is L2, index 3 is L3), else from the C library, else `unknown`. sysfs
// first: in a virtual machine with an AMD EPYC of 32 MB of L3, glibc 2.36 reports 320 MB.
int64_t cache_bytes(int level, int64_t unknown) {
  long size = 0;
  char unit = 'K';
  std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(level) + "/size");
  if (file >> size >> unit && size > 0) return int64_t(size) << (unit == 'M' ? 20 : unit == 'K' ? 10 : 0);
#if defined(_SC_LEVEL3_CACHE_SIZE)
  size = sysconf(level == 2 ? _SC_LEVEL2_CACHE_SIZE : _SC_LEVEL3_CACHE_SIZE);
#endif
  return size > 0 ? size : unknown;
}

CpuTraits detect() {
  CpuTraits t;
  t.l2_bytes = cache_bytes(2, int64_t(1) << 20);
  t.l3_bytes = cache_bytes(3, int64_t(32) << 20);
  // Measured on an AMD EPYC (Zen 4, 32 MB of L3), including loops over several steps: the other data of a step evict a
  // larger output before it is read. Faster from 5 MB, slower at 3 MB.
  t.non_temporal_above = t.l3_bytes / 8;
  // 128 bytes are two lines, which the prefetcher of the next line fetches together. On an AMD EPYC tiles of 64 bytes
  // or 256 bytes are slower.
  t.tile_bytes = 128;
  // Packing reads and writes x once, and tiles read the columns of the edges once each. At mean degree 32 this costs
  // more than it gains unless x and y exceed L3.
  t.pack_degree = 64;
  t.pack_degree_large = 24;
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  if (__builtin_cpu_is("amd")) {
    t.name = "AMD";
    // AMD EPYC (Zen 4, 1 MB of L2): prefetches to L1 occupy its line-fill buffers; to L2 the whole pass takes half the
    // time. Without prefetches the pass is up to 1.2x faster until x takes 2.5 MB.
    t.prefetch_to = 2;
    t.prefetch_distance = 24;
    t.prefetch_above = t.l2_bytes * 5 / 2;
    // Gains of 1.15x to 1.9x up to tiles of 5 MB, none at 13 MB.
    t.pack_below = t.l3_bytes / 5;
    return t;
  }
  t.name = __builtin_cpu_is("intel") ? "Intel" : "unknown x86";
#else
  t.name = "unknown";
#endif
  // Intel Xeon (Granite Rapids, 2 MB of L2): prefetches to L2 cost 1.15x to 1.4x, those to L1 gain up to 1.4x. At 5 MB
  // of x two threads are faster without, at 10 MB with them. Packed tiles of 2.5 MB gain 1.4x to 1.9x, those of 13 MB
  // lose.
  t.prefetch_to = 1;
  t.prefetch_distance = 16;
  t.prefetch_above = t.l2_bytes * 4;
  t.pack_below = t.l2_bytes * 3;
  return t;
}

struct Field {
  const char* name;
  int64_t CpuTraits::* value;
  int64_t least, most;
};

constexpr int64_t kAnyBytes = int64_t(1) << 50;
constexpr Field kFields[] = {
    {"prefetch_to", &CpuTraits::prefetch_to, 1, 2},
    {"prefetch_distance", &CpuTraits::prefetch_distance, 1, 1024},
    {"prefetch_above", &CpuTraits::prefetch_above, 0, kAnyBytes},
    {"non_temporal_above", &CpuTraits::non_temporal_above, 0, kAnyBytes},
    {"tile_bytes", &CpuTraits::tile_bytes, 64, 4096},
    {"pack_below", &CpuTraits::pack_below, 0, kAnyBytes},
    {"pack_degree", &CpuTraits::pack_degree, 0, kAnyBytes},
    {"pack_degree_large", &CpuTraits::pack_degree_large, 0, kAnyBytes},
};

void replace(CpuTraits& traits, const std::string& setting) {
  const size_t split = setting.find('=');
  const std::string name = setting.substr(0, split), text = split == std::string::npos ? "" : setting.substr(split + 1);
  std::string names;
  for (const Field& field : kFields) {
    names += (names.empty() ? "" : ", ") + std::string(field.name);
    if (name != field.name) continue;
    char* end = nullptr;
    const long long value = std::strtoll(text.c_str(), &end, 10);
    if (text.empty() || *end != '\0' || value < field.least || value > field.most)
      throw std::runtime_error("sbp: SBP_CPU_TRAITS needs " + name + " from " + std::to_string(field.least) + " to " +
                               std::to_string(field.most) + ", got \"" + text + "\"");
    traits.*field.value = value;
    return;
  }
  throw std::runtime_error("sbp: SBP_CPU_TRAITS knows " + names + ", got \"" + name + "\"");
}

CpuTraits with_settings(CpuTraits traits, const char* settings) {
  std::string rest = settings == nullptr ? "" : settings;
  while (!rest.empty()) {
    const size_t comma = rest.find(',');
    replace(traits, rest.substr(0, comma));
    rest = comma == std::string::npos ? "" : rest.substr(comma + 1);
  }
  return traits;
}

std::string megabytes(int64_t bytes) {
  const int64_t tenths = bytes * 10 >> 20;
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " MB";
}

}  // namespace

const CpuTraits& cpu_traits() {
  static const CpuTraits traits = with_settings(detect(), std::getenv("SBP_CPU_TRAITS"));
  return traits;
}

std::string describe(const CpuTraits& t) {
  return t.name + " (L2 " + megabytes(t.l2_bytes) + ", L3 " + megabytes(t.l3_bytes) + "): prefetch to L" +
         std::to_string(t.prefetch_to) + ", " + std::to_string(t.prefetch_distance) + " edges ahead, above " +
         megabytes(t.prefetch_above) + "; non-temporal stores above " + megabytes(t.non_temporal_above) +
         "; packed tiles of " + std::to_string(t.tile_bytes) + " B up to " + megabytes(t.pack_below) +
         " from mean degree " + std::to_string(t.pack_degree) + " (" + std::to_string(t.pack_degree_large) +
         " above half of L3)";
}

}  // namespace sbp
