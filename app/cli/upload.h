// Uploads a file or folder as an artifact: hashes first, sends what the backend lacks, goes on where an earlier try
// broke off.
#pragma once

#include <filesystem>
#include <string>

#include "app/cli/client.h"
#include "slipway/v1/artifact.pb.h"

namespace slipway::cli {

// `quiet`: no progress on stderr (it is shown only on a terminal anyway). Hidden files are left out. Throws Failure.
v1::Artifact upload_path(const Client& client, const std::filesystem::path& path, bool quiet);

}  // namespace slipway::cli
