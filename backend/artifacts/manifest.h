// An artifact is a list of files, each known by the hash of its content. Its id is the hash of the canonical text of
// that list, so the same content has the same id. Used by ArtifactStore and by those who show artifacts.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace slipway::artifacts {

struct FileEntry {
  std::string path;    // relative, '/' between parts
  int64_t size = 0;    // bytes
  std::string sha256;  // 64 lower-case hex digits
};

struct Manifest {
  std::vector<FileEntry> files;  // sorted by path

  int64_t size() const;
  // Null when there is no such file.
  const FileEntry* find(std::string_view path) const;
};

inline constexpr size_t kMaxFiles = 10'000;
inline constexpr size_t kMaxPathBytes = 512;

// INVALID_ARGUMENT on `field` for a path that is absolute, leads upward, or holds what file systems or manifests
// cannot.
absl::Status check_path(const std::string& field, const std::string& path);
// The whole list: paths are fine, different, and none is a folder of another.
absl::Status check_paths(const std::string& field, const std::vector<FileEntry>& files);

bool is_sha256(std::string_view text);

// First line "slipway-artifact 1", then one line per file, "SHA256 SIZE PATH", sorted by path.
std::string canonical_text(const Manifest& manifest);
std::string artifact_id(const Manifest& manifest);
// The reverse of canonical_text; DATA_LOSS when the text is not one.
absl::StatusOr<Manifest> parse_manifest(const std::string& text);

}  // namespace slipway::artifacts
