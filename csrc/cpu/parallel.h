// parallel_rows: divide rows among the threads of torch's pool.
//
// Each thread has a static share of the pieces and a counter of the next one; a thread that has finished its share
// takes pieces of other shares (work stealing). The atomic counters are the only data that threads share, and their
// increments give each piece to exactly one thread. parallel_for orders the writes of all threads before its return.
//
// This header includes nothing of torch, so that tests/sanitizers can run it on other threads: the including file must
// declare torch::stable::parallel_for and get_num_threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

namespace sbp {

// Run f(begin, end) over [0, num_rows) in pieces of about equal cost; cost_before(row) is the cost of all rows before
// `row`. A thread has the same share in each call, so that its rows stay in its cache from one call to the next. Rows
// are independent, so the schedule cannot change results.
template <class Cost, class F> void parallel_rows(int64_t num_rows, const Cost& cost_before, const F& f) {
  const int64_t total = cost_before(num_rows);
  // A second thread pays above kMinShare. A piece costs a few microseconds, which are negligible above kMinPiece.
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
