#include "backend/base/error.h"

#include <cerrno>
#include <cstring>
#include <utility>

namespace slipway::base {

Error::Error(std::string code, const std::string& message, std::string advice)
    : std::runtime_error(message), code_(std::move(code)), advice_(std::move(advice)) {}

Error system_error(const std::string& what_on_which, int error_number) {
  const std::string message = what_on_which + ": " + std::strerror(error_number);
  if (error_number == ENOSPC || error_number == EDQUOT) {
    return Error(kDiskFull, message, "free some space on that disk, or use another folder, and start again");
  }
  if (error_number == ENOMEM) return Error(kOutOfMemory, message, "close other programs or use a smaller model");
  return Error(error_number == ENOENT ? kNotFound : kIo, message, "check the path and its permissions");
}

}  // namespace slipway::base
