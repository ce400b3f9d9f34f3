#include "backend/store/change_feed.h"

#include <utility>

namespace slipway::store {

ChangeFeed::Subscription& ChangeFeed::Subscription::operator=(Subscription&& other) noexcept {
  if (this != &other) {
    reset();
    feed_ = std::exchange(other.feed_, nullptr);
    id_ = std::exchange(other.id_, 0);
  }
  return *this;
}

void ChangeFeed::Subscription::reset() {
  if (feed_ == nullptr) return;
  const std::lock_guard lock(feed_->mutex_);
  feed_->watchers_.erase(id_);
  feed_ = nullptr;
}

ChangeFeed::Subscription ChangeFeed::subscribe(Wake wake) {
  const std::lock_guard lock(mutex_);
  watchers_.emplace(++last_id_, std::move(wake));
  return {this, last_id_};
}

void ChangeFeed::publish(int64_t position) {
  position_.store(position, std::memory_order_release);
  const std::lock_guard lock(mutex_);
  for (const auto& [id, wake] : watchers_) wake(position);
}

}  // namespace slipway::store
