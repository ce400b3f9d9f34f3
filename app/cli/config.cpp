#include "app/cli/config.h"

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "app/cli/failure.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::cli {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

std::filesystem::path config_path() {
  if (const auto path = environment("SLIPWAY_CONFIG"); !path.empty()) return path;
  if (const auto folder = environment("XDG_CONFIG_HOME"); !folder.empty()) {
    return std::filesystem::path(folder) / "slipway/config.json";
  }
  return std::filesystem::path(environment("HOME")) / ".config/slipway/config.json";
}

Config load_config(const std::filesystem::path& path) {
  Config config;
  if (std::filesystem::exists(path)) {
    try {
      const auto value = nlohmann::json::parse(base::read_file(path, 1 << 16));
      config.backend = value.value("backend", "");
      config.token = value.value("token", "");
      config.user = value.value("user", "");
      config.tls_ca = value.value("tls_ca", "");
    } catch (const std::exception& error) {
      throw Failure(Exit::kFailed, path.string() + " cannot be read: " + error.what(),
                    "delete it and run: slipway login");
    }
  }
  if (const auto backend = environment("SLIPWAY_BACKEND"); !backend.empty()) {
    // A token is for the backend that gave it: never sent to another.
    if (backend != config.backend) config.token.clear();
    config.backend = backend;
  }
  if (const auto token = environment("SLIPWAY_TOKEN"); !token.empty()) config.token = token;
  if (config.backend.empty()) config.backend = kDefaultBackend;
  return config;
}

void save_config(const Config& config, const std::filesystem::path& path) {
  try {
    const auto folder = std::filesystem::absolute(path).parent_path();
    if (std::filesystem::create_directories(folder)) {
      std::filesystem::permissions(folder, std::filesystem::perms::owner_all);
    }
    const nlohmann::ordered_json value = {
        {"backend", config.backend}, {"user", config.user}, {"token", config.token}, {"tls_ca", config.tls_ca}};
    base::write_file_atomically(path, value.dump(2) + "\n", 0600);
  } catch (const std::exception& error) {
    throw Failure(Exit::kFailed, std::string("the sign-in could not be kept: ") + error.what(),
                  "check the folder, or name another file in SLIPWAY_CONFIG");
  }
}

}  // namespace slipway::cli
