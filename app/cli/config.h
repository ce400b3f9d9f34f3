// Where the backend is and who we are there: flags before environment before the file of `slipway login`.
#pragma once

#include <filesystem>
#include <string>

namespace slipway::cli {

struct Config {
  std::string backend;  // gRPC, HOST:PORT
  std::string token;    // slw_…
  std::string user;
  std::string tls_ca;  // PEM file of trusted certificates; empty: no TLS
};

// SLIPWAY_CONFIG, else $XDG_CONFIG_HOME/slipway/config.json, else ~/.config/slipway/config.json.
std::filesystem::path config_path();

// The file at `path` (nothing when missing), then SLIPWAY_BACKEND and SLIPWAY_TOKEN over it, then the default address.
// Throws Failure when the file is there but broken.
Config load_config(const std::filesystem::path& path);

// Private to the user (0600, its folder 0700). Throws Failure.
void save_config(const Config& config, const std::filesystem::path& path);

inline constexpr char kDefaultBackend[] = "127.0.0.1:7879";

}  // namespace slipway::cli
