#include "agents/engine/prep/jsonl_reader.h"

#include <sys/stat.h>

#include <cerrno>
#include <string_view>

#include "backend/base/error.h"

namespace slipway::prep {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// What the file is instead of JSONL, by its first bytes; empty when nothing speaks against JSONL.
std::string other_format(std::string_view head) {
  if (head.starts_with("PAR1")) return "a Parquet file";
  if (head.starts_with("\x1F\x8B")) return "compressed with gzip";
  if (head.starts_with("\x28\xB5\x2F\xFD")) return "compressed with zstd";
  if (head.starts_with("PK\x03\x04")) return "a zip archive";
  if (head.starts_with("GGUF")) return "a GGUF model";
  if (head.starts_with("\xFF\xFE") || head.starts_with("\xFE\xFF")) return "UTF-16 text";
  if (head.starts_with(kByteOrderMark)) head.remove_prefix(kByteOrderMark.size());
  const size_t first = head.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && head[first] == '[') return "one JSON list";
  return "";
}

}  // namespace

JsonlReader::JsonlReader(const std::filesystem::path& path)
    : name_(path.string()), file_(std::fopen(path.c_str(), "rbe")) {
  if (!file_) throw base::system_error("cannot open " + name_, errno);
  struct stat info {};
  if (fstat(fileno(file_.get()), &info) == 0 && S_ISDIR(info.st_mode)) {
    throw base::Error(base::kIo, name_ + " is a folder, not a .jsonl file", "name the file inside it");
  }
  char head[64];
  const size_t count = std::fread(head, 1, sizeof head, file_.get());
  const std::string_view start(head, count);
  const std::string other = other_format(start);
  if (!other.empty()) {
    throw base::Error(base::kUnsupported,
                      name_ + " is " + other + "; expected JSONL: one JSON object on each line, in UTF-8",
                      "convert the file, e.g. with Python: for row in rows: print(json.dumps(row))");
  }
  std::rewind(file_.get());
  if (start.starts_with(kByteOrderMark)) {
    for (size_t i = 0; i < kByteOrderMark.size(); ++i) std::fgetc(file_.get());
    bytes_read_ = static_cast<int64_t>(kByteOrderMark.size());
  }
}

JsonlReader::Status JsonlReader::next(std::string& line) {
  for (;;) {
    line.clear();
    bool too_long = false;
    bool any = false;
    int c = 0;
    while ((c = getc_unlocked(file_.get())) != EOF) {
      any = true;
      ++bytes_read_;
      if (c == '\n') break;
      if (line.size() < kMaxLineBytes) {
        line.push_back(static_cast<char>(c));
      } else {
        too_long = true;
      }
    }
    if (c == EOF && std::ferror(file_.get()) != 0) throw base::system_error("cannot read " + name_, errno);
    if (!any) return Status::kEnd;
    ++line_number_;
    if (too_long) return Status::kTooLong;
    if (line.ends_with('\r')) line.pop_back();
    if (line.find_first_not_of(" \t\r") != std::string::npos) return Status::kLine;
    ++blank_lines_;
  }
}

}  // namespace slipway::prep
