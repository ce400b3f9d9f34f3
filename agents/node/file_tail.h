// One growing file of an attempt on its way to the backend: which lines were sent, and which have arrived.
// At least once: what was not acknowledged is sent again after a new connection; the backend drops doubles by offset.
// One thread.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace slipway::node {

// Offsets are bytes from where the attempt began: a later attempt on the same work folder starts at 0 again.
struct LineBatch {
  int64_t offset = 0;
  int64_t end_offset = 0;
  std::vector<std::string> lines;  // valid UTF-8
};

class FileTail {
 public:
  // `begin`: size of the file when the attempt began. `acknowledged`: what the backend already has.
  FileTail(std::filesystem::path path, int64_t begin, int64_t acknowledged);

  // The next lines to send, or nothing: no whole line has come, or kMostInFlight batches wait for their answer.
  std::optional<LineBatch> next();

  // The backend's answer to a batch: it has everything before `end_offset`.
  void acknowledge(int64_t end_offset);
  // A new connection: goes on from what the backend says it has.
  void resume_at(int64_t acknowledged);
  // A new connection, and the backend said nothing about this file: goes on from the last acknowledgement.
  void resume() { resume_at(acknowledged_); }

  int64_t begin() const { return begin_; }
  int64_t acknowledged() const { return acknowledged_; }
  // True when no whole line is unsent or unacknowledged.
  bool drained() const;

  static constexpr size_t kMostInFlight = 4;
  static constexpr size_t kBatchBytes = 256 * 1024;

 private:
  std::filesystem::path path_;
  int64_t begin_;
  int64_t acknowledged_;
  int64_t sent_;
  std::deque<int64_t> in_flight_;  // end offsets
};

// Where the next attempt's lines begin: just after the file's last whole line. 0 for a missing file.
int64_t end_of_last_line(const std::filesystem::path& path);

// `text` with every byte that is not UTF-8 replaced by U+FFFD: protobuf strings must be valid.
std::string to_valid_utf8(std::string text);

}  // namespace slipway::node
