// Work shared out among the threads, evenly at first; a thread that is done takes over half of what another has left,
// so that a busy neighbour costs its own time and not twice as much. Used by products.cpp and product_jobs.cpp.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace slipway::train {

struct Piece {
  int64_t begin = 0, end = 0;
};

// A range of less than 2^32 of which its owner takes the front and others the back. Any thread.
class SharedRange {
 public:
  void assign(int64_t begin, int64_t end) { ends_ = pack({begin, end}); }

  // Up to `count` from the front, but no more than half of what is left if that are `least` or more, so that others
  // find something to take over; nothing when none are left.
  Piece take(int64_t count, int64_t least) {
    return remove([&](const Piece& rest) {
      const int64_t half = (rest.end - rest.begin + 1) / 2;
      return Piece{rest.begin, std::min(rest.begin + std::min(count, std::max(half, least)), rest.end)};
    });
  }
  // Half of what is left, from the back, if that are `least` or more.
  Piece take_over(int64_t least) {
    return remove([&](const Piece& rest) {
      const int64_t count = (rest.end - rest.begin) / 2;
      return Piece{rest.end - (count >= least ? count : 0), rest.end};
    });
  }

 private:
  static uint64_t pack(const Piece& piece) {
    return static_cast<uint64_t>(piece.begin) << 32U | static_cast<uint64_t>(piece.end);
  }
  template <typename Choose>
  Piece remove(Choose choose) {
    uint64_t seen = ends_;
    for (;;) {
      const Piece rest{static_cast<int64_t>(seen >> 32U), static_cast<int64_t>(seen & 0xffffffffU)};
      const Piece chosen = choose(rest);
      if (chosen.begin == chosen.end) return chosen;
      const Piece left = chosen.begin == rest.begin ? Piece{chosen.end, rest.end} : Piece{rest.begin, chosen.begin};
      if (ends_.compare_exchange_weak(seen, pack(left))) return chosen;
    }
  }

  std::atomic<uint64_t> ends_ = 0;
};

// Ranges one behind the other, to be shared out as one.
class Ranges {
 public:
  void add(int64_t size) { ends_.push_back(size_of_all() + size); }
  int64_t size_of_all() const { return ends_.empty() ? 0 : ends_.back(); }

  // Calls use(its number, begin, end) for the part of each range that lies in [begin, end) of all.
  template <typename Use>
  void for_each(int64_t begin, int64_t end, Use use) const {
    for (auto at = std::upper_bound(ends_.begin(), ends_.end(), begin); begin < end; ++at) {
      const auto range = static_cast<size_t>(at - ends_.begin());
      const int64_t offset = range == 0 ? 0 : ends_[range - 1], last = std::min(end, *at);
      use(range, begin - offset, last - offset);
      begin = last;
    }
  }

 private:
  std::vector<int64_t> ends_;
};

// Calls use(begin, end) for pieces of [0, count) of up to `piece`, on all threads; less than `least` change no hands.
// Who takes which must change no number.
template <typename Use>
void share_out(int64_t count, int64_t piece, int64_t least, Use use) {
  const int64_t threads = std::clamp<int64_t>(count / least, 1, at::get_num_threads());
  std::vector<SharedRange> ranges(static_cast<size_t>(threads));
  for (int64_t i = 0; i < threads; ++i) {
    ranges[static_cast<size_t>(i)].assign(count * i / threads, count * (i + 1) / threads);
  }
  const auto work = [&](int64_t own) {
    SharedRange& range = ranges[static_cast<size_t>(own)];
    for (int64_t other = 0; other < threads;) {
      for (Piece next = range.take(piece, least); next.begin < next.end; next = range.take(piece, least)) {
        use(next.begin, next.end);
      }
      const Piece more = ranges[static_cast<size_t>((own + other) % threads)].take_over(least);
      if (more.begin == more.end) {
        ++other;
      } else {
        range.assign(more.begin, more.end);
      }
    }
  };
  at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t own = begin; own < end; ++own) work(own);
  });
}

}  // namespace slipway::train
