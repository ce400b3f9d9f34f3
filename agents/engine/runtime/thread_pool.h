// The runtime's worker threads: short parallel loops, hundreds per token. Workers spin briefly, then sleep.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <thread>
#include <vector>

namespace slipway::runtime {

// run() is for one thread at a time: the engine's. The calling thread takes part, as worker 0. A loop's indices are
// claimed one by one, so a worker that the machine holds up costs only what it has claimed; one that comes too late is
// not waited for.
class ThreadPool {
 public:
  // threads: all of them, the caller's included; 0: as many as this process may run on.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // What the loop after the next one reads first: workers without work fetch it into their caches, so that memory does
  // not rest while few of them compute. Of no more than a part of a cache; called before run().
  void expect(std::span<const std::byte> memory);

  // Calls body(index, worker) for each index below count, in any order on any thread; returns when all are done. The
  // body must not throw.
  template <typename Body>
  void run(int64_t count, const Body& body) {
    if (count <= 1 || workers_.empty()) {
      for (int64_t i = 0; i < count; ++i) body(i, 0);
      return;
    }
    run_job(
        count,
        [](const void* context, int64_t index, int worker) { (*static_cast<const Body*>(context))(index, worker); },
        &body);
  }

 private:
  using Function = void (*)(const void* context, int64_t index, int worker);

  void run_job(int64_t count, Function function, const void* context);
  void run_part(int64_t first, int64_t count);
  void work(int worker);
  int64_t take_indices(int worker);
  bool has_indices() const;
  void fetch_or_relax();

  // Number of the job, how many indices it has, how many are claimed. One claim is one addition, whose result says to
  // which job it belongs.
  alignas(64) std::atomic<uint64_t> ticket_{0};
  int64_t first_ = 0;
  Function function_ = nullptr;
  const void* context_ = nullptr;
  alignas(64) std::atomic<int64_t> done_{0};                     // indices of the job that are finished
  alignas(64) std::atomic<int32_t> signal_{0};                   // what workers sleep on
  alignas(64) std::atomic<const std::byte*> expected_{nullptr};  // what is still to be fetched
  std::atomic<const std::byte*> expected_end_{nullptr};
  std::atomic<int32_t> sleepers_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> workers_;
};

}  // namespace slipway::runtime
