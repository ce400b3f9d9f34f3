// Passwords by Argon2id (libsodium). Used by Auth alone, on workers: each hash takes most of a second and 256 MiB.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace slipway::service {

// What one hash costs; libsodium's limits.
struct PasswordCost {
  unsigned long long operations;
  size_t memory_bytes;
};
PasswordCost moderate_password_cost();
// For tests alone.
PasswordCost smallest_password_cost();

class Passwords {
 public:
  explicit Passwords(PasswordCost cost);

  // A text that holds salt, cost and hash. RESOURCE_EXHAUSTED when too many wait already.
  absl::StatusOr<std::string> hash(const std::string& password);
  absl::StatusOr<bool> verify(const std::string& hash, const std::string& password);
  // Takes as long as verify does and says false, so that an unknown user name is not told from a wrong password by
  // time.
  absl::StatusOr<bool> verify_nothing(const std::string& password);

 private:
  // One hash at a time bounds the memory; few may wait, so that sign-ins never hold all workers.
  absl::Status enter(std::unique_lock<std::mutex>& turn);

  PasswordCost cost_;
  std::mutex turn_;
  std::mutex waiting_mutex_;
  int waiting_ = 0;
  std::string nothing_;  // hash of a random password
};

}  // namespace slipway::service
