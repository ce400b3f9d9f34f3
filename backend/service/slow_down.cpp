#include "backend/service/slow_down.h"

#include <algorithm>

#include "backend/base/status.h"

namespace slipway::service {
namespace {

constexpr int kFreeFailures = 3;
constexpr int64_t kLongestWaitMs = 60'000;
// Names that guessers make up must not fill the memory.
constexpr size_t kMostNames = 10'000;

}  // namespace

absl::Status SlowDown::check(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto found = names_.find(name);
  if (found == names_.end()) return absl::OkStatus();
  const int64_t wait_ms = found->second.next_try_ms - clock_.now_ms();
  if (wait_ms <= 0) return absl::OkStatus();
  const std::string seconds = std::to_string((wait_ms + 999) / 1000);
  return base::error(absl::StatusCode::kResourceExhausted, "too many failed tries",
                     {"SLOW_DOWN", "", "try again in " + seconds + " s"});
}

void SlowDown::failed(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const int64_t now_ms = clock_.now_ms();
  if (names_.size() >= kMostNames && !names_.contains(name)) {
    std::erase_if(names_, [&](const auto& entry) { return entry.second.next_try_ms + kLongestWaitMs < now_ms; });
    if (names_.size() >= kMostNames) names_.erase(names_.begin());
  }
  Failures& failures = names_[name];
  ++failures.count;
  const int over = failures.count - kFreeFailures;
  failures.next_try_ms = over < 0 ? now_ms : now_ms + std::min(kLongestWaitMs, int64_t{1000} << std::min(over, 10));
}

void SlowDown::succeeded(const std::string& name) {
  const std::lock_guard lock(mutex_);
  names_.erase(name);
}

}  // namespace slipway::service
