// The agent's view of the artifact store: single calls, each may fail and be tried again. Transfer makes whole folders
// of them.
#pragma once

#include <grpcpp/channel.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agents/node/cancellation.h"
#include "slipway/v1/artifact.pb.h"

namespace slipway::node {

class Artifacts {
 public:
  virtual ~Artifacts() = default;
  virtual absl::StatusOr<v1::Artifact> get(const std::string& id, Cancellation& cancellation) = 0;
  // Calls `sink` with the bytes from `offset` on, in order. A sink's error ends the call and is returned.
  virtual absl::Status download(const std::string& id, const std::string& path, int64_t offset,
                                const std::function<absl::Status(std::string_view)>& sink,
                                Cancellation& cancellation) = 0;
  virtual absl::StatusOr<v1::Upload> begin_upload(const v1::BeginUploadRequest& request,
                                                  Cancellation& cancellation) = 0;
  virtual absl::Status upload_file(const std::string& upload_id, int file_index, int64_t offset,
                                   const std::filesystem::path& file, Cancellation& cancellation) = 0;
  virtual absl::StatusOr<v1::Artifact> finish_upload(const std::string& upload_id, Cancellation& cancellation) = 0;
};

// Over gRPC. `token`: gives the node's token for each call. Any thread.
std::unique_ptr<Artifacts> make_grpc_artifacts(std::shared_ptr<grpc::Channel> channel,
                                               std::function<std::string()> token);

}  // namespace slipway::node
