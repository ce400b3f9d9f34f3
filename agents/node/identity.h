// Who this node is to the backend: the node token that Join answered, kept in DATA/node.json (0600).
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace slipway::node {

struct Identity {
  std::string node_id;
  std::string node_token;

  // Nothing when there is no (readable) file yet.
  static std::optional<Identity> load(const std::filesystem::path& path);
  // Throws base::Error.
  void save(const std::filesystem::path& path) const;
};

}  // namespace slipway::node
