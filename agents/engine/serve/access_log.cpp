#include "agents/engine/serve/access_log.h"

#include <poll.h>
#include <unistd.h>

#include <cstdio>

#include "backend/base/clock.h"

namespace slipway::serve {
namespace {

// What strangers wrote must not write lines or fields of its own into the log.
std::string one_word(std::string text, size_t most) {
  if (text.size() > most) text.resize(most);
  for (char& c : text) {
    if (static_cast<unsigned char>(c) <= 0x20 || c == 0x7F) c = '?';
  }
  return text;
}

std::string milliseconds(double seconds) {
  char text[40];
  std::snprintf(text, sizeof text, "%.1f", seconds * 1000.0);
  return text;
}

}  // namespace

std::string access_line(const AccessRecord& record, int64_t now_ms) {
  const AccessNotes& notes = record.notes;
  std::string line = base::format_rfc3339(now_ms) + " request id=" + one_word(record.request_id, 128) +
                     " client=" + record.client + " method=" + one_word(record.method, 16) +
                     " path=" + one_word(record.path, 200) + " status=" + std::to_string(record.status);
  if (!notes.model.empty()) line += " model=" + one_word(notes.model, 200);
  if (notes.prompt_tokens >= 0) line += " prompt_tokens=" + std::to_string(notes.prompt_tokens);
  if (notes.completion_tokens >= 0) line += " completion_tokens=" + std::to_string(notes.completion_tokens);
  if (!notes.finish.empty()) line += " finish=" + notes.finish;
  if (notes.first_token_seconds >= 0) line += " ttft_ms=" + milliseconds(notes.first_token_seconds);
  line += " ms=" + milliseconds(record.seconds) + " bytes=" + std::to_string(record.bytes_sent);
  if (record.client_left) line += " client_left=true";
  if (!record.trace.empty()) line += " traceparent=" + record.trace;
  return line + "\n";
}

void AccessLog::write(const std::string& line) {
  pollfd state{fd_, POLLOUT, 0};
  if (poll(&state, 1, 0) == 1 && (state.revents & POLLOUT) != 0 &&
      ::write(fd_, line.data(), line.size()) == static_cast<ssize_t>(line.size())) {
    return;
  }
  ++lost_;
}

}  // namespace slipway::serve
