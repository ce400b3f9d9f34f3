#include "agents/engine/spec/events.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>

#include "backend/base/error.h"

namespace slipway::spec {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

struct FileEnd {
  int64_t length = 0;  // after the last whole and valid line
  int64_t seq = 0;
  bool succeeded = false;
};

// Reads backwards from the end to the last line that is an event. What lies behind it was cut off by a crash.
FileEnd find_end(int fd, const std::string& name) {
  struct stat info {};
  if (fstat(fd, &info) != 0) throw base::system_error("cannot look at " + name, errno);
  int64_t start = info.st_size;  // `tail` holds the file from here on
  std::string tail;
  for (;;) {
    // The last whole line in `tail`.
    while (true) {
      const size_t newline = tail.rfind('\n');
      if (newline == std::string::npos) {
        if (start == 0) return {};
        break;
      }
      const size_t before = newline == 0 ? std::string::npos : tail.rfind('\n', newline - 1);
      if (before == std::string::npos && start > 0) {
        tail.resize(newline + 1);
        break;  // the line begins further up
      }
      const size_t begin = before == std::string::npos ? 0 : before + 1;
      const json event = json::parse(tail.substr(begin, newline - begin), nullptr, false);
      if (event.is_object() && event.contains("seq") && event["seq"].is_number_integer()) {
        FileEnd end;
        end.length = start + static_cast<int64_t>(newline) + 1;
        end.seq = event["seq"].get<int64_t>();
        end.succeeded = event.value("type", json()) == "finished" && event.value("status", json()) == "succeeded";
        return end;
      }
      tail.resize(begin);
      if (begin == 0) {
        if (start == 0) return {};
        break;
      }
    }
    const int64_t more = std::min<int64_t>(start, 64 << 10);
    std::string block(static_cast<size_t>(more), '\0');
    int64_t done = 0;
    while (done < more) {
      const ssize_t count = pread(fd, block.data() + done, static_cast<size_t>(more - done), start - more + done);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) throw base::system_error("cannot read " + name, count < 0 ? errno : EIO);
      done += count;
    }
    tail = block + tail;
    start -= more;
  }
}

void drop_non_numbers(ordered_json& values) {
  for (auto it = values.begin(); it != values.end();) {
    const bool good = it->is_number() && (!it->is_number_float() || std::isfinite(it->get<double>()));
    it = good ? std::next(it) : values.erase(it);
  }
}

}  // namespace

EventWriter::EventWriter(const std::filesystem::path& workdir, const base::Clock& clock, std::FILE* log)
    : clock_(clock), log_(log) {
  const std::string name = (workdir / "events.jsonl").string();
  fd_ = open(name.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd_ < 0) throw base::system_error("cannot open " + name, errno);
  try {
    const FileEnd end = find_end(fd_, name);
    if (lseek(fd_, 0, SEEK_END) != end.length && ftruncate(fd_, end.length) != 0) {
      throw base::system_error("cannot cut the unfinished last line of " + name, errno);
    }
    last_seq_ = end.seq;
    already_succeeded_ = end.succeeded;
  } catch (...) {
    close(fd_);
    throw;
  }
}

EventWriter::~EventWriter() { close(fd_); }

void EventWriter::append(const std::string& type, nlohmann::ordered_json fields) {
  const std::lock_guard lock(mutex_);
  ordered_json event;
  event["seq"] = last_seq_ + 1;
  const int64_t now_ms = clock_.now_ms();
  event["time"] = base::format_rfc3339(now_ms);
  event["type"] = type;
  for (auto& [name, value] : fields.items()) event[name] = std::move(value);
  const std::string line = event.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";

  const off_t before = lseek(fd_, 0, SEEK_END);
  ssize_t written = 0;
  do {
    written = write(fd_, line.data(), line.size());
  } while (written < 0 && errno == EINTR);
  if (written != static_cast<ssize_t>(line.size())) {
    const int reason = written < 0 ? errno : ENOSPC;
    // Half a line helps nobody: take it back.
    if (written > 0 && before >= 0 && ftruncate(fd_, before) != 0) {
      throw base::system_error("cannot take back half a line of events.jsonl", errno);
    }
    throw base::system_error("cannot write event " + std::to_string(last_seq_ + 1) + " to events.jsonl", reason);
  }
  ++last_seq_;
  // What others act on must survive a power cut.
  if (type == "checkpoint" || type == "artifact" || type == "finished") fdatasync(fd_);
  if (log_ == nullptr) return;
  if (const std::string text = log_lines_.line_of(event, now_ms); !text.empty()) {
    std::fprintf(log_, "%s\n", text.c_str());
    std::fflush(log_);
  }
}

void EventWriter::started(const std::string& engine) {
  append("started", {{"engine", engine}, {"version", SLIPWAY_VERSION}, {"pid", getpid()}});
}

void EventWriter::phase(const std::string& name, const std::string& state) {
  append("phase", {{"name", name}, {"state", state}});
}

void EventWriter::progress(const std::string& phase, int64_t done, int64_t total, const std::string& unit,
                           double eta_s) {
  ordered_json fields = {{"phase", phase}, {"done", done}, {"total", total}, {"unit", unit}};
  // A tenth of a second is more than an estimate knows.
  if (std::isfinite(eta_s) && eta_s >= 0) fields["eta_s"] = std::round(eta_s * 10.0) / 10.0;
  append("progress", std::move(fields));
}

void EventWriter::metric(int64_t step, const nlohmann::ordered_json& values) {
  ordered_json kept = values.is_object() ? values : ordered_json::object();
  drop_non_numbers(kept);
  append("metric", {{"step", step}, {"values", std::move(kept)}});
}

void EventWriter::checkpoint(int64_t step, const std::string& path, const std::string& sha256) {
  append("checkpoint", {{"step", step}, {"path", path}, {"sha256", sha256}});
}

void EventWriter::artifact(const std::string& name, const std::string& path) {
  append("artifact", {{"name", name}, {"path", path}});
}

void EventWriter::ready(const std::string& url) { append("ready", {{"url", url}}); }

void EventWriter::heartbeat(int64_t step) { append("heartbeat", {{"step", step}}); }

void EventWriter::warning(const std::string& code, const std::string& message, const std::string& advice) {
  append("warning", {{"code", code}, {"message", message}, {"advice", advice}});
}

void EventWriter::error(const std::string& code, const std::string& message, const std::string& advice) {
  append("error", {{"code", code}, {"message", message}, {"advice", advice}});
}

void EventWriter::finished(const std::string& status) { append("finished", {{"status", status}}); }

}  // namespace slipway::spec
