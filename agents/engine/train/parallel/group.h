// The ranks of a job as one: sums and copies of tensors among them, waited for or beside the computation, and the end
// of the waiting when a rank is lost. Used by trainer.cpp, step.cpp and sharding.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>

#include "agents/engine/train/parallel/gpu_ring.h"
#include "agents/engine/train/parallel/meeting.h"
#include "agents/engine/train/parallel/rank_environment.h"
#include "agents/engine/train/parallel/ring.h"

namespace slipway::train {

// One thread calls it; all ranks call the same in the same order. A lost rank ends every operation in base::Error
// RANK_LOST, which names it; a rank that failed of its own in that rank's error.
class Group {
 public:
  // Waits for all ranks.
  explicit Group(const RankEnvironment& environment);
  ~Group();
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  int64_t rank() const { return rank_; }
  int64_t size() const { return size_; }
  bool is_first() const { return rank_ == 0; }

  // Where this rank computes. If all ranks do so on GPUs and have NCCL, tensors on them no longer travel by way of the
  // main memory. Returns whether that is so. Before any tensor is handed over.
  bool place(at::Device device);

  // Sums over all ranks, in place.
  void all_reduce(const at::Tensor& values);
  void all_reduce(std::span<double> values);
  // Whether it holds on any rank.
  bool any(bool here);
  // Rank 0's content to everyone; the sizes must agree.
  void broadcast(const at::Tensor& values);
  std::string broadcast(std::string text);

  // The same beside the computation. The tensors must be contiguous, and be left alone until the future is ready; get()
  // throws.
  using Pending = std::future<void>;
  Pending begin_all_reduce(at::Tensor values);
  // all: `size` equal parts, of which this rank's is given.
  Pending begin_all_gather(at::Tensor all);
  // Of `size` equal parts this rank's becomes the sum, the others are undefined.
  Pending begin_reduce_scatter(at::Tensor values);

  // Tells the others why this rank leaves.
  void fail(const std::string& code, const std::string& message, const std::string& advice);

 private:
  Ring meet(const RankEnvironment& environment);
  void look_around();
  [[noreturn]] void explain(const ConnectionClosed& closed);
  [[noreturn]] void explain(const GpuRingBroken& broken);
  void look_around_for(std::chrono::milliseconds time);
  Pending submit(std::function<void(Ring&)> work);
  // The same for a tensor, by what connects the devices it is on.
  using OnGpu = void (GpuRing::*)(const at::Tensor&, const GpuRing::Mark&);
  using OnCpu = void (*)(Ring&, const at::Tensor&);
  Pending submit(at::Tensor values, OnGpu on_gpu, OnCpu on_cpu);
  void work();

  int64_t rank_, size_;
  Meeting meeting_;
  Ring ring_;
  std::unique_ptr<GpuRing> gpu_ring_;  // once place() has made it
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::packaged_task<void()>> queue_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace slipway::train
