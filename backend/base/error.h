// The one exception type that engines throw, and that their main turns into an `error` event.
#pragma once

#include <stdexcept>
#include <string>

namespace slipway::base {

// code: UPPER_SNAKE, stable, to search for. message: what happened, to which thing. advice: what to do about it.
class Error : public std::runtime_error {
 public:
  Error(std::string code, const std::string& message, std::string advice = "");

  const std::string& code() const { return code_; }
  const std::string& advice() const { return advice_; }

 private:
  std::string code_;
  std::string advice_;
};

// The usual codes. Others may be made where a reader would search for them.
inline constexpr char kInvalidSpec[] = "INVALID_SPEC";  // the engine exits with 2
inline constexpr char kInvalidData[] = "INVALID_DATA";  // a data file; the message names file and line
inline constexpr char kInvalidModel[] =
    "INVALID_MODEL";  // a model, tokenizer or adapter file; names file and tensor or key
inline constexpr char kUnsupported[] = "UNSUPPORTED";  // well-formed but not known here; lists what is
inline constexpr char kNotFound[] = "NOT_FOUND";
inline constexpr char kDiskFull[] = "DISK_FULL";
inline constexpr char kIo[] = "IO";
inline constexpr char kOutOfMemory[] = "OUT_OF_MEMORY";

// An Error for a failed system call: ENOSPC becomes DISK_FULL, others IO, with errno's text.
Error system_error(const std::string& what_on_which, int error_number);

}  // namespace slipway::base
