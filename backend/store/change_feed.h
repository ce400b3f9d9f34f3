// Wakes watchers after each commit that changed something. Positions are the cursors of the one ordered feed: every
// change, event, log line and sample has one, given out by the single writer, so a reader that has seen position P has
// seen everything up to P.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>

namespace slipway::store {

class ChangeFeed {
 public:
  // Called on the writer's thread after a commit: must be quick and must not call the store.
  using Wake = std::function<void(int64_t position)>;

  // Ends when destroyed; after that the callback does not run, nor is it running.
  class Subscription {
   public:
    Subscription() = default;
    Subscription(ChangeFeed* feed, int64_t id) : feed_(feed), id_(id) {}
    ~Subscription() { reset(); }
    Subscription(Subscription&& other) noexcept { *this = std::move(other); }
    Subscription& operator=(Subscription&& other) noexcept;
    void reset();

   private:
    ChangeFeed* feed_ = nullptr;
    int64_t id_ = 0;
  };

  // Any thread, but not from inside a callback. The feed must outlive the subscription.
  [[nodiscard]] Subscription subscribe(Wake wake);

  // The last committed position. Any thread.
  int64_t position() const { return position_.load(std::memory_order_acquire); }

  // For the writer: `position` is committed.
  void publish(int64_t position);
  // For the opening of the store.
  void start_at(int64_t position) { position_ = position; }

 private:
  std::atomic<int64_t> position_{0};
  std::mutex mutex_;
  int64_t last_id_ = 0;
  std::map<int64_t, Wake> watchers_;
};

}  // namespace slipway::store
