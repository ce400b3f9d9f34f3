// A request to give up waiting, handed to everything that blocks. Any thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <utility>

namespace slipway::node {

class Cancellation {
 public:
  void cancel() {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
    if (on_cancel_) on_cancel_();
    changed_.notify_all();
  }
  bool cancelled() const {
    const std::lock_guard lock(mutex_);
    return cancelled_;
  }
  // Waits; false at once when cancelled.
  bool sleep_for(std::chrono::milliseconds time) const {
    std::unique_lock lock(mutex_);
    return !changed_.wait_for(lock, time, [&] { return cancelled_; });
  }

  // While it lives, `action` runs when cancel() is called (at once if it was). One at a time; must not block.
  class Scope {
   public:
    Scope(Cancellation& owner, std::function<void()> action) : owner_(owner) {
      const std::lock_guard lock(owner_.mutex_);
      owner_.on_cancel_ = std::move(action);
      if (owner_.cancelled_) owner_.on_cancel_();
    }
    ~Scope() {
      const std::lock_guard lock(owner_.mutex_);
      owner_.on_cancel_ = nullptr;
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Cancellation& owner_;
  };

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  bool cancelled_ = false;
  std::function<void()> on_cancel_;
};

}  // namespace slipway::node
