// Brings artifacts into work folders and results back to the store, whole and verified, through a cache by content.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agents/node/artifacts.h"
#include "agents/node/cancellation.h"

namespace slipway::node {

// Any thread. Transient failures (backend away) are tried again until cancelled; what has arrived is kept.
class Transfer {
 public:
  // Files in `cache` over `cache_bytes` in all are dropped, those unused for longest first.
  Transfer(Artifacts& artifacts, std::filesystem::path cache, int64_t cache_bytes);

  // Makes `folder` hold the artifact's files, hard-linked from the cache (read-only), each checked against its hash.
  absl::Status fetch(const std::string& artifact_id, const std::filesystem::path& folder, Cancellation& cancellation);

  // Uploads a folder (or one file) and answers the artifact's id. Symbolic links are refused.
  absl::StatusOr<std::string> publish(const std::filesystem::path& path, Cancellation& cancellation);

  // Deletes the cache's least recently used files that no work folder links to, until it fits.
  void trim();

 private:
  absl::StatusOr<std::filesystem::path> fetch_file(const std::string& artifact_id, const v1::ArtifactFile& file,
                                                   Cancellation& cancellation);
  absl::Status download_into(const std::filesystem::path& partial, const std::string& artifact_id,
                             const v1::ArtifactFile& file, Cancellation& cancellation);

  Artifacts& artifacts_;
  const std::filesystem::path cache_;
  const int64_t cache_bytes_;
  std::mutex mutex_;
  std::condition_variable fetched_;
  std::set<std::string> fetching_;  // hashes on their way
};

}  // namespace slipway::node
