// The runtime's worker threads: short parallel loops, hundreds per token. Workers spin briefly, then sleep.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace slipway::runtime {

// run() is for one thread at a time: the engine's. The calling thread takes part, as worker 0.
class ThreadPool {
 public:
  // threads: all of them, the caller's included; 0: as many as this process may run on.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls body(index, worker) for each index below count, in any order on any thread; returns when all are done. A
  // worker that comes too late is not waited for. The body must not throw.
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
  void work(int worker);
  void take_tasks(int worker);

  // Bit 0: the job is open; from bit 1 on: the number of workers inside it.
  std::atomic<uint32_t> gate_{0};
  std::atomic<int32_t> signal_{0};  // counts jobs; workers sleep on it
  std::atomic<int64_t> next_{0};
  std::atomic<bool> stop_{false};
  int64_t count_ = 0;
  Function function_ = nullptr;
  const void* context_ = nullptr;
  std::vector<std::thread> workers_;
};

}  // namespace slipway::runtime
