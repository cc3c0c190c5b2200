// Work over all threads of torch's pool. Without torch's headers, so that tests/sanitizers can run it on other
// threads: whoever includes this declares torch::stable::parallel_for and get_num_threads first.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

namespace sbp {

// Run f(begin, end) over [0, num_rows) in pieces of about equal cost; cost_before(row) is the cost of all rows before
// `row`. Every thread has its share of the pieces, the same in each call, so that rows stay in its cache from one call
// to the next; a thread that has finished its share takes pieces of others (work stealing). Rows are independent, so
// the schedule cannot change results.
template <class Cost, class F> void parallel_rows(int64_t num_rows, const Cost& cost_before, const F& f) {
  const int64_t total = cost_before(num_rows);
  // Below this a second thread costs more than it brings, and pieces cost a few microseconds that must not show.
  constexpr int64_t kMinShare = 1 << 16, kMinPiece = 1 << 18, kMaxPieces = 16;
  const int64_t workers = std::min<int64_t>(torch::stable::get_num_threads(), total / kMinShare);
  if (workers <= 1) return f(int64_t(0), num_rows);
  const int64_t each = std::clamp<int64_t>(total / workers / kMinPiece, 1, kMaxPieces), pieces = workers * each;
  const auto first_row = [&](int64_t piece) {
    const int64_t target = total / pieces * piece;
    int64_t low = 0, high = num_rows;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if (cost_before(middle) < target)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  };
  struct alignas(64) Share {
    std::atomic<int64_t> next;
    int64_t end;
  };
  std::vector<Share> shares(static_cast<size_t>(workers));
  for (int64_t k = 0; k < workers; ++k) {
    shares[size_t(k)].next = each * k;
    shares[size_t(k)].end = each * (k + 1);
  }
  torch::stable::parallel_for(0, workers, 1, [&](int64_t first, int64_t) {
    for (int64_t k = 0; k < workers; ++k) {
      Share& share = shares[size_t((first + k) % workers)];
      for (int64_t piece = share.next++; piece < share.end; piece = share.next++) {
        const int64_t begin = piece == 0 ? 0 : first_row(piece);
        const int64_t end = piece + 1 == pieces ? num_rows : first_row(piece + 1);
        if (begin < end) f(begin, end);
      }
    }
  });
}

}  // namespace sbp
