#include "backend/service/passwords.h"

#include <sodium.h>

#include <array>
#include <stdexcept>

#include "backend/base/ids.h"
#include "backend/base/status.h"

namespace slipway::service {
namespace {

constexpr int kMostWaiting = 3;

std::string hash_now(const std::string& password, const PasswordCost& cost) {
  std::array<char, crypto_pwhash_STRBYTES> text{};
  if (crypto_pwhash_str_alg(text.data(), password.data(), password.size(), cost.operations, cost.memory_bytes,
                            crypto_pwhash_ALG_ARGON2ID13) != 0) {
    return {};
  }
  return text.data();
}

}  // namespace

PasswordCost moderate_password_cost() {
  return {crypto_pwhash_argon2id_OPSLIMIT_MODERATE, crypto_pwhash_argon2id_MEMLIMIT_MODERATE};
}

PasswordCost smallest_password_cost() {
  return {crypto_pwhash_argon2id_OPSLIMIT_MIN, crypto_pwhash_argon2id_MEMLIMIT_MIN};
}

Passwords::Passwords(PasswordCost cost) : cost_(cost) {
  if (sodium_init() < 0) throw std::runtime_error("libsodium cannot start");
}

absl::Status Passwords::enter(std::unique_lock<std::mutex>& turn) {
  {
    const std::lock_guard lock(waiting_mutex_);
    if (waiting_ >= kMostWaiting) {
      return base::error(absl::StatusCode::kResourceExhausted, "too many sign-ins at once",
                         {"TOO_MANY_SIGN_INS", "", "try again in a few seconds"});
    }
    ++waiting_;
  }
  turn = std::unique_lock(turn_);
  const std::lock_guard lock(waiting_mutex_);
  --waiting_;
  return absl::OkStatus();
}

absl::StatusOr<std::string> Passwords::hash(const std::string& password) {
  std::unique_lock<std::mutex> turn;
  if (const absl::Status status = enter(turn); !status.ok()) return status;
  std::string text = hash_now(password, cost_);
  if (text.empty()) {
    return base::error(absl::StatusCode::kResourceExhausted, "there is not enough memory to hash a password",
                       {"OUT_OF_MEMORY", "", "close other programs and try again"});
  }
  return text;
}

absl::StatusOr<bool> Passwords::verify(const std::string& hash, const std::string& password) {
  std::unique_lock<std::mutex> turn;
  if (const absl::Status status = enter(turn); !status.ok()) return status;
  return crypto_pwhash_str_verify(hash.c_str(), password.data(), password.size()) == 0;
}

absl::StatusOr<bool> Passwords::verify_nothing(const std::string& password) {
  std::unique_lock<std::mutex> turn;
  if (const absl::Status status = enter(turn); !status.ok()) return status;
  if (nothing_.empty()) nothing_ = hash_now(base::random_secret(), cost_);
  // Of 256 random bits that nobody has seen: nothing matches.
  return crypto_pwhash_str_verify(nothing_.c_str(), password.data(), password.size()) == 0;
}

}  // namespace slipway::service
