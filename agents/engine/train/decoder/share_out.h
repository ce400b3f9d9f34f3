// Work shared out among the threads as they come free, so that a thread beside another busy process takes less of it.
// Used by products.cpp and attention.cpp.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace slipway::train {

// Calls use(begin, end) for pieces of [0, count) of at least `least`, large ones first, on all threads. Which thread
// takes which must change no number.
template <typename Use>
void share_out(int64_t count, int64_t least, Use use) {
  const int64_t threads = at::get_num_threads();
  std::atomic<int64_t> next = 0;
  at::parallel_for(0, std::min(threads, (count + least - 1) / least), 1, [&](int64_t first, int64_t last) {
    for (int64_t share = first; share < last; ++share) {
      for (int64_t begin = next;;) {
        const int64_t end = std::min(begin + std::max(least, (count - begin) / (2 * threads)), count);
        if (begin >= count) break;
        if (!next.compare_exchange_weak(begin, end)) continue;
        use(begin, end);
        begin = next;
      }
    }
  });
}

}  // namespace slipway::train
