// The work stealing of csrc/cpu/parallel.h on std::thread, for the thread
// sanitizer: it does not understand the barriers of torch's pool or of OpenMP,
// but sees every access of these threads. Exit status 1: a row was not computed
// exactly once.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace torch::stable {

// What get_num_threads() returns, and how many threads parallel_for really has:
// fewer inside another parallel region.
int64_t promised = 8, real = 8;

inline int64_t get_num_threads() { return promised; }

// Like torch's: static chunks of equal size, the first of them on the calling
// thread.
template <class F>
void parallel_for(int64_t begin, int64_t end, int64_t grain, const F &f) {
  const int64_t size = end - begin,
                count = std::min(real, (size + grain - 1) / grain);
  if (count <= 0)
    return;
  const int64_t chunk = (size + count - 1) / count;
  // All threads begin at the same moment: the first would otherwise finish
  // before the last one exists.
  std::atomic<bool> go{false};
  std::vector<std::thread> threads;
  for (int64_t at = begin + chunk; at < end; at += chunk)
    threads.emplace_back([&f, &go, at, end, chunk] {
      while (!go.load(std::memory_order_relaxed))
        std::this_thread::yield();
      f(at, std::min(end, at + chunk));
    });
  go.store(true, std::memory_order_relaxed);
  f(begin, std::min(end, begin + chunk));
  for (std::thread &thread : threads)
    thread.join();
}

} // namespace torch::stable

#include "parallel.h"

namespace {

std::mt19937_64 generator(0);

struct Shape {
  const char *name;
  std::function<int64_t(int64_t row, int64_t num_rows)> cost;
};

const Shape kShapes[] = {
    {"even", [](int64_t, int64_t) { return int64_t(40); }},
    {"random", [](int64_t, int64_t) { return int64_t(generator() % 200); }},
    {"power law", [](int64_t row, int64_t) { return 50'000'000 / (row + 1); }},
    {"rising",
     [](int64_t row, int64_t num_rows) { return 100 * row / num_rows; }},
    {"hub in the middle",
     [](int64_t row, int64_t num_rows) {
       return row == num_rows / 2 ? int64_t(1) << 24 : 3;
     }},
    {"hub at the end",
     [](int64_t row, int64_t num_rows) {
       return row == num_rows - 1 ? int64_t(1) << 24 : 0;
     }},
    {"only the first half",
     [](int64_t row, int64_t num_rows) {
       return row < num_rows / 2 ? int64_t(80) : 0;
     }},
    {"only the second half",
     [](int64_t row, int64_t num_rows) {
       return row < num_rows / 2 ? int64_t(0) : 80;
     }},
    {"nothing", [](int64_t, int64_t) { return int64_t(0); }},
};

// One call: plain bytes count the visits of each row, so that two threads in
// one row are a data race as well.
int64_t wrong_rows(const std::vector<int64_t> &before,
                   std::vector<uint8_t> &visits) {
  const int64_t num_rows = int64_t(before.size()) - 1;
  std::fill(visits.begin(), visits.begin() + num_rows, uint8_t(0));
  std::atomic<int64_t> outside{0};
  sbp::parallel_rows(
      num_rows, [&](int64_t row) { return before[size_t(row)]; },
      [&](int64_t begin, int64_t end) {
        if (begin < 0 || end > num_rows)
          outside += 1;
        for (int64_t row = std::max<int64_t>(begin, 0);
             row < std::min(end, num_rows); ++row)
          ++visits[size_t(row)];
      });
  return outside + std::count_if(visits.begin(), visits.begin() + num_rows,
                                 [](uint8_t v) { return v != 1; });
}

} // namespace

// The argument is the number of calls of each shape and size.
int main(int argc, char **argv) {
  const int64_t repeats = argc > 1 ? std::atoll(argv[1]) : 20;
  const std::vector<int64_t> sizes = {
      0, 1, 2, 7, 8, 9, 63, 1000, 4096, 20'000, 100'000, 1'000'000};
  std::vector<uint8_t> visits(size_t(sizes.back()));
  int64_t calls = 0, failed = 0;
  for (const Shape &shape : kShapes)
    for (const int64_t num_rows : sizes) {
      std::vector<int64_t> before(size_t(num_rows) + 1, 0);
      for (int64_t row = 0; row < num_rows; ++row)
        before[size_t(row) + 1] =
            before[size_t(row)] + shape.cost(row, num_rows);
      for (int64_t repeat = 0;
           repeat < (num_rows > 100'000 ? 1 + repeats / 10 : repeats);
           ++repeat, ++calls) {
        // Most calls have all of their threads; the others fewer than there are
        // shares, down to one.
        torch::stable::promised =
            repeat % 4 == 1 ? 1 + int64_t(generator() % 16) : 8;
        torch::stable::real =
            repeat % 4 == 2 ? 1 + int64_t(generator() % 8) : 8;
        const int64_t wrong = wrong_rows(before, visits);
        if (wrong == 0)
          continue;
        ++failed;
        std::printf("%s, %lld rows, %lld threads promised, %lld real: %lld "
                    "rows not done exactly once\n",
                    shape.name, (long long)num_rows,
                    (long long)torch::stable::promised,
                    (long long)torch::stable::real, (long long)wrong);
      }
    }
  std::printf("%lld calls, %lld failed\n", (long long)calls, (long long)failed);
  return failed > 0;
}
