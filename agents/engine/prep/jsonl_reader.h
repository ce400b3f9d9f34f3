// Lines of a JSONL file, one at a time, with a bound on their length.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

namespace slipway::prep {

inline constexpr size_t kMaxLineBytes = size_t{16} << 20U;

class JsonlReader {
 public:
  // Throws base::Error: NOT_FOUND, IO, or UNSUPPORTED when the file begins like another format (Parquet, gzip, a JSON
  // list).
  explicit JsonlReader(const std::filesystem::path& path);

  enum class Status { kLine, kTooLong, kEnd };
  // The next line that is not blank, without its line end. kTooLong: the line exceeds kMaxLineBytes and was skipped.
  Status next(std::string& line);

  int64_t line_number() const { return line_number_; }  // of the line that next() returned, from 1
  int64_t bytes_read() const { return bytes_read_; }
  int64_t blank_lines() const { return blank_lines_; }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  std::string name_;
  std::unique_ptr<std::FILE, Close> file_;
  int64_t line_number_ = 0;
  int64_t bytes_read_ = 0;
  int64_t blank_lines_ = 0;
};

}  // namespace slipway::prep
