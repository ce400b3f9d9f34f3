#include "agents/engine/runtime/thread_pool.h"

#include <sched.h>

#include <algorithm>

namespace slipway::runtime {
namespace {

constexpr int kSpins = 2000;  // about 30 µs

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
  threads = std::min(threads, 256);
  for (int worker = 1; worker < threads; ++worker) workers_.emplace_back([this, worker] { work(worker); });
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_release);
  signal_.fetch_add(1, std::memory_order_release);
  signal_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::take_tasks(int worker) {
  while (true) {
    const int64_t index = next_.fetch_add(1, std::memory_order_relaxed);
    if (index >= count_) return;
    function_(context_, index, worker);
  }
}

void ThreadPool::run_job(int64_t count, Function function, const void* context) {
  count_ = count;
  function_ = function;
  context_ = context;
  next_.store(0, std::memory_order_relaxed);
  gate_.store(1, std::memory_order_release);
  signal_.fetch_add(1, std::memory_order_release);
  signal_.notify_all();
  take_tasks(0);
  // Close the gate; whoever is inside still finishes a task.
  uint32_t inside = gate_.fetch_and(~1U, std::memory_order_acq_rel) & ~1U;
  for (int spin = 0; inside != 0; ++spin) {
    if (spin < kSpins) {
      relax();
    } else {
      gate_.wait(inside, std::memory_order_acquire);
    }
    inside = gate_.load(std::memory_order_acquire);
  }
}

void ThreadPool::work(int worker) {
  int32_t seen = 0;
  while (true) {
    int32_t signal = signal_.load(std::memory_order_acquire);
    for (int spin = 0; signal == seen && spin < kSpins; ++spin) {
      relax();
      signal = signal_.load(std::memory_order_acquire);
    }
    if (signal == seen) {
      signal_.wait(seen, std::memory_order_acquire);
      continue;
    }
    seen = signal;
    if (stop_.load(std::memory_order_acquire)) return;
    uint32_t gate = gate_.load(std::memory_order_relaxed);
    while ((gate & 1U) != 0) {
      if (gate_.compare_exchange_weak(gate, gate + 2, std::memory_order_acquire, std::memory_order_relaxed)) {
        take_tasks(worker);
        if (gate_.fetch_sub(2, std::memory_order_acq_rel) == 2) gate_.notify_all();
        break;
      }
    }
  }
}

}  // namespace slipway::runtime
