#include "backend/artifacts/manifest.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "backend/base/sha256.h"
#include "backend/base/status.h"

namespace slipway::artifacts {
namespace {
constexpr char kFirstLine[] = "slipway-artifact 1";
}  // namespace

int64_t Manifest::size() const {
  int64_t sum = 0;
  for (const FileEntry& file : files) sum += file.size;
  return sum;
}

const FileEntry* Manifest::find(std::string_view path) const {
  const auto found = std::find_if(files.begin(), files.end(), [&](const FileEntry& file) { return file.path == path; });
  return found == files.end() ? nullptr : &*found;
}

absl::Status check_path(const std::string& field, const std::string& path) {
  const auto refused = [&](const std::string& why) {
    return base::invalid_argument(field, "the file path '" + path.substr(0, 100) + "' " + why,
                                  "use a relative path with '/', such as folder/file.json");
  };
  if (path.empty()) return refused("is empty");
  if (path.size() > kMaxPathBytes) return refused("is longer than 512 bytes");
  if (path.front() == '/') return refused("is absolute");
  for (const char c : path) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) return refused("holds a control character");
    if (c == '\\') return refused("holds a backslash");
  }
  size_t start = 0;
  while (start <= path.size()) {
    const size_t end = std::min(path.find('/', start), path.size());
    const std::string_view part = std::string_view(path).substr(start, end - start);
    if (part.empty()) return refused("has an empty part");
    if (part == "." || part == "..") return refused("has a part '.' or '..'");
    if (part.size() > 255) return refused("has a part longer than 255 bytes");
    start = end + 1;
  }
  return absl::OkStatus();
}

absl::Status check_paths(const std::string& field, const std::vector<FileEntry>& files) {
  if (files.empty()) return base::invalid_argument(field, "there are no files", "name at least one file");
  if (files.size() > kMaxFiles) {
    return base::invalid_argument(field, "there are more than 10,000 files", "put them into fewer, larger ones");
  }
  std::set<std::string> names;
  for (size_t i = 0; i < files.size(); ++i) {
    const std::string where = field + "[" + std::to_string(i) + "].path";
    if (absl::Status status = check_path(where, files[i].path); !status.ok()) return status;
    if (!names.insert(files[i].path).second) {
      return base::invalid_argument(where, "the file '" + files[i].path + "' is named twice", "name each file once");
    }
  }
  for (const std::string& name : names) {
    for (size_t slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1)) {
      if (names.contains(name.substr(0, slash))) {
        return base::invalid_argument(field, "'" + name.substr(0, slash) + "' is a file and a folder",
                                      "rename one of them");
      }
    }
  }
  return absl::OkStatus();
}

bool is_sha256(std::string_view text) {
  return text.size() == 64 &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string canonical_text(const Manifest& manifest) {
  std::vector<const FileEntry*> files;
  for (const FileEntry& file : manifest.files) files.push_back(&file);
  std::sort(files.begin(), files.end(), [](const FileEntry* a, const FileEntry* b) { return a->path < b->path; });
  std::string text = std::string(kFirstLine) + "\n";
  for (const FileEntry* file : files) text += file->sha256 + " " + std::to_string(file->size) + " " + file->path + "\n";
  return text;
}

std::string artifact_id(const Manifest& manifest) { return base::sha256_hex(canonical_text(manifest)); }

absl::StatusOr<Manifest> parse_manifest(const std::string& text) {
  const auto damaged = [](const std::string& why) {
    return base::error(absl::StatusCode::kDataLoss, "the artifact's manifest is damaged: " + why,
                       {"ARTIFACT_DAMAGED", "", "upload the artifact again"});
  };
  Manifest manifest;
  std::string_view rest = text;
  bool first = true;
  while (!rest.empty()) {
    const size_t end = rest.find('\n');
    if (end == std::string_view::npos) return damaged("its last line is cut");
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    if (first) {
      if (line != kFirstLine) return damaged("its first line is another");
      first = false;
      continue;
    }
    FileEntry file;
    const size_t space = line.find(' ', 65);
    if (line.size() < 68 || line[64] != ' ' || space == std::string_view::npos) return damaged("a line is malformed");
    file.sha256 = std::string(line.substr(0, 64));
    file.path = std::string(line.substr(space + 1));
    const char* size_end = line.data() + space;
    const auto [stopped, error] = std::from_chars(line.data() + 65, size_end, file.size);
    if (!is_sha256(file.sha256) || error != std::errc() || stopped != size_end || file.size < 0 ||
        !check_path("path", file.path).ok()) {
      return damaged("a line is malformed");
    }
    manifest.files.push_back(std::move(file));
  }
  if (manifest.files.empty()) return damaged("it names no files");
  return manifest;
}

}  // namespace slipway::artifacts
