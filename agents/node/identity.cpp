#include "agents/node/identity.h"

#include <nlohmann/json.hpp>

#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::node {

std::optional<Identity> Identity::load(const std::filesystem::path& path) {
  try {
    const auto value = nlohmann::json::parse(base::read_file(path, 1 << 16), nullptr, false);
    if (!value.is_object()) return std::nullopt;
    Identity identity{value.value("node_id", ""), value.value("node_token", "")};
    if (identity.node_token.empty()) return std::nullopt;
    return identity;
  } catch (const std::exception&) {  // not there, or not ours: join again
    return std::nullopt;
  }
}

void Identity::save(const std::filesystem::path& path) const {
  base::write_file_atomically(path, nlohmann::json{{"node_id", node_id}, {"node_token", node_token}}.dump() + "\n",
                              0600);
}

}  // namespace slipway::node
