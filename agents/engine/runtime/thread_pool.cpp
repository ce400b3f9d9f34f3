#include "agents/engine/runtime/thread_pool.h"

#include <sched.h>

#include <algorithm>

namespace slipway::runtime {
namespace {

constexpr int kSpins = 2000;  // about 30 µs

// The parts of a ticket.
constexpr uint64_t kFieldBits = 20;
constexpr uint64_t kField = (uint64_t{1} << kFieldBits) - 1;
constexpr int kMostThreads = 256;
// Every thread may claim once beyond the end.
constexpr int64_t kMostIndices = static_cast<int64_t>(kField) - kMostThreads;

int64_t claimed(uint64_t ticket) { return static_cast<int64_t>(ticket & kField); }
int64_t size_of(uint64_t ticket) { return static_cast<int64_t>((ticket >> kFieldBits) & kField); }

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

int cores_of_this_process() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  if (threads <= 0) threads = cores_of_this_process();
  threads = std::min(threads, kMostThreads);
  for (int worker = 1; worker < threads; ++worker) workers_.emplace_back([this, worker] { work(worker); });
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_release);
  signal_.fetch_add(1, std::memory_order_release);
  signal_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::expect(std::span<const std::byte> memory) {
  expected_end_.store(nullptr, std::memory_order_relaxed);
  expected_.store(memory.data(), std::memory_order_relaxed);
  expected_end_.store(memory.data() + memory.size(), std::memory_order_relaxed);
}

// One turn of a thread that waits. A fetch of what is not expected any more, or not there, does no harm.
void ThreadPool::fetch_or_relax() {
  constexpr std::ptrdiff_t kAtOnce = 512;
  if (expected_.load(std::memory_order_relaxed) < expected_end_.load(std::memory_order_relaxed)) {
    const std::byte* at = expected_.fetch_add(kAtOnce, std::memory_order_relaxed);
    for (std::ptrdiff_t i = 0; i < kAtOnce; i += 64) __builtin_prefetch(at + i, 0, 2);
  } else {
    relax();
  }
}

bool ThreadPool::has_indices() const {
  const uint64_t ticket = ticket_.load(std::memory_order_seq_cst);
  return claimed(ticket) < size_of(ticket);
}

// Runs what can still be claimed of the job, and says how much that was.
int64_t ThreadPool::take_indices(int worker) {
  int64_t taken = 0;
  while (true) {
    const uint64_t ticket = ticket_.fetch_add(1, std::memory_order_acq_rel);
    if (claimed(ticket) >= size_of(ticket)) return taken;
    // The job cannot end before this index is done, so its description stays.
    function_(context_, first_ + claimed(ticket), worker);
    ++taken;
  }
}

void ThreadPool::run_job(int64_t count, Function function, const void* context) {
  function_ = function;
  context_ = context;
  for (int64_t first = 0; first < count; first += kMostIndices) run_part(first, std::min(kMostIndices, count - first));
}

void ThreadPool::run_part(int64_t first, int64_t count) {
  first_ = first;
  done_.store(0, std::memory_order_relaxed);
  const uint64_t job = (ticket_.load(std::memory_order_relaxed) >> (2 * kFieldBits)) + 1;
  ticket_.store((job << (2 * kFieldBits)) | (static_cast<uint64_t>(count) << kFieldBits), std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) > 0) {
    signal_.fetch_add(1, std::memory_order_release);
    signal_.notify_all();
  }
  const int64_t own = take_indices(0);
  int64_t done = done_.fetch_add(own, std::memory_order_acq_rel) + own;
  for (int spin = 0; done != count; ++spin) {
    if (spin < kSpins) {
      fetch_or_relax();
    } else {
      done_.wait(done, std::memory_order_acquire);
    }
    done = done_.load(std::memory_order_acquire);
  }
}

void ThreadPool::work(int worker) {
  while (true) {
    for (int spin = 0; !has_indices() && spin < kSpins; ++spin) fetch_or_relax();
    if (!has_indices()) {
      const int32_t signal = signal_.load(std::memory_order_acquire);
      sleepers_.fetch_add(1, std::memory_order_seq_cst);
      // A job that came meanwhile saw either this sleeper or is seen here.
      if (!has_indices() && !stop_.load(std::memory_order_acquire)) signal_.wait(signal, std::memory_order_acquire);
      sleepers_.fetch_sub(1, std::memory_order_relaxed);
    }
    if (stop_.load(std::memory_order_acquire)) return;
    const int64_t taken = has_indices() ? take_indices(worker) : 0;
    if (taken == 0) continue;
    done_.fetch_add(taken, std::memory_order_acq_rel);
    done_.notify_one();
  }
}

}  // namespace slipway::runtime
