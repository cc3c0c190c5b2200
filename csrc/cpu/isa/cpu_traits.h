// What the row pass chooses per processor: prefetches, non-temporal stores, and packed tiles of features.
#pragma once

#include <cstdint>
#include <string>

namespace sbp {

struct CpuTraits {
  std::string name;
  int64_t l2_bytes;  // of one core
  int64_t l3_bytes;
  int64_t prefetch_to;         // 1: into L1, 2: into L2
  int64_t prefetch_distance;   // edges between the prefetch of a row of x and its use
  int64_t prefetch_above;      // bytes of x above which the row pass prefetches
  int64_t non_temporal_above;  // bytes of y above which stores go past the caches
  int64_t tile_bytes;          // of one row of a packed tile
  int64_t pack_below;          // bytes of the largest tile that is packed
  int64_t pack_degree;         // mean degree from which x that exceeds L2 is packed
  int64_t pack_degree_large;   // the same for x above half of L3
};

// The traits of this processor. SBP_CPU_TRAITS="prefetch_to=1,pack_degree=8", read once, replaces some of them; a name
// or value that does not exist raises.
const CpuTraits& cpu_traits();

// The traits in one line, for show_config().
std::string describe(const CpuTraits& traits);

}  // namespace sbp
