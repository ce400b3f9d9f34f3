#include "agents/node/file_tail.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "agents/engine/spec/events.h"

namespace slipway::node {

FileTail::FileTail(std::filesystem::path path, int64_t begin, int64_t acknowledged)
    : path_(std::move(path)), begin_(begin), acknowledged_(acknowledged), sent_(acknowledged) {}

std::optional<LineBatch> FileTail::next() {
  if (in_flight_.size() >= kMostInFlight) return std::nullopt;
  std::error_code failure;
  const auto size = std::filesystem::file_size(path_, failure);
  if (failure || static_cast<int64_t>(size) <= begin_ + sent_) return std::nullopt;
  spec::LineTail tail(path_, begin_ + sent_);
  LineBatch batch;
  batch.lines = tail.read(kBatchBytes);
  if (batch.lines.empty()) return std::nullopt;
  for (auto& line : batch.lines) line = to_valid_utf8(std::move(line));
  batch.offset = sent_;
  batch.end_offset = tail.offset() - begin_;
  sent_ = batch.end_offset;
  in_flight_.push_back(sent_);
  return batch;
}

void FileTail::acknowledge(int64_t end_offset) {
  // Every batch is answered once, in order. An answer that stops short of its batch: the backend could not fit the
  // batch on to what it has, and wants what follows `end_offset`.
  if (!in_flight_.empty() && end_offset < in_flight_.front() && end_offset <= acknowledged_)
    return resume_at(end_offset);
  acknowledged_ = std::max(acknowledged_, std::min(end_offset, sent_));
  while (!in_flight_.empty() && in_flight_.front() <= acknowledged_) in_flight_.pop_front();
}

void FileTail::resume_at(int64_t acknowledged) {
  acknowledged_ = std::max<int64_t>(acknowledged, 0);
  sent_ = acknowledged_;
  in_flight_.clear();
}

bool FileTail::drained() const { return in_flight_.empty() && acknowledged_ >= end_of_last_line(path_) - begin_; }

int64_t end_of_last_line(const std::filesystem::path& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  int64_t end = lseek(fd, 0, SEEK_END);
  char block[4096];
  while (end > 0) {
    const int64_t start = std::max<int64_t>(0, end - static_cast<int64_t>(sizeof block));
    const ssize_t got = pread(fd, block, static_cast<size_t>(end - start), start);
    if (got <= 0) break;
    for (int64_t i = got - 1; i >= 0; --i) {
      if (block[i] == '\n') {
        close(fd);
        return start + i + 1;
      }
    }
    end = start;
  }
  close(fd);
  return 0;
}

std::string to_valid_utf8(std::string text) {
  // Length of the sequence that a lead byte opens, with the bounds of its second byte (RFC 3629, section 4).
  const auto sequence = [&](size_t at) -> size_t {
    const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
    const unsigned lead = byte(at);
    const auto within = [&](size_t i, unsigned low, unsigned high) { return byte(i) >= low && byte(i) <= high; };
    if (lead < 0x80) return 1;
    if (lead >= 0xC2 && lead <= 0xDF) return within(at + 1, 0x80, 0xBF) ? 2 : 0;
    if (lead >= 0xE0 && lead <= 0xEF) {
      const unsigned low = lead == 0xE0 ? 0xA0 : 0x80;
      const unsigned high = lead == 0xED ? 0x9F : 0xBF;
      return within(at + 1, low, high) && within(at + 2, 0x80, 0xBF) ? 3 : 0;
    }
    if (lead >= 0xF0 && lead <= 0xF4) {
      const unsigned low = lead == 0xF0 ? 0x90 : 0x80;
      const unsigned high = lead == 0xF4 ? 0x8F : 0xBF;
      return within(at + 1, low, high) && within(at + 2, 0x80, 0xBF) && within(at + 3, 0x80, 0xBF) ? 4 : 0;
    }
    return 0;
  };
  size_t good = 0;
  while (good < text.size()) {
    const size_t length = sequence(good);
    if (length == 0) break;
    good += length;
  }
  if (good == text.size()) return text;
  std::string result = text.substr(0, good);
  for (size_t i = good; i < text.size();) {
    const size_t length = sequence(i);
    if (length == 0) {
      result += "\xEF\xBF\xBD";
      ++i;
    } else {
      result.append(text, i, length);
      i += length;
    }
  }
  return result;
}

}  // namespace slipway::node
