// The settings of slipway-serve, from a spec or from flags: both go through the same schema.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agents/engine/serve/http_server.h"

namespace slipway::serve {

struct BaseModelSettings {
  std::filesystem::path path;
  std::string served_model_name;
  std::string dtype;
  std::string fingerprint;  // of the tokenizer; empty: any
};

struct AdapterSettings {
  std::string name;
  std::filesystem::path path;
  size_t model = 0;     // index of its base model
  int64_t task_id = 0;  // whose prompt, of a multitask prompt tuning adapter
};

struct ServeSettings {
  std::vector<BaseModelSettings> models;  // the first answers requests that name none
  std::vector<AdapterSettings> adapters;
  int64_t memory_limit_bytes = 0;  // of all models in memory together; 0: none
  double idle_unload_s = 0;        // a model that nobody used for so long is dropped; 0: never
  std::string listen;
  HttpTls tls;
  int64_t max_model_len = 0;
  int64_t max_num_seqs = 64;
  int64_t queue = 256;
  int64_t kv_cache_tokens = 0;
  std::string kv_cache_dtype;
  bool prefix_caching = true;
  int64_t prompt_tokens_beside = 64;
  int64_t speculative_tokens = 0;
  int64_t adapters_in_memory = 32;
  int threads = 0;
  HttpLimits http;
  double drain_timeout_s = 30;
  std::string api_key;  // empty: none
  bool runtime_adapters = true;
  std::filesystem::path base_folder;  // what relative paths of clients are relative to
};

// The flags as a spec. Returns nothing when `status` says that there is no more to do (help, version: 0; a wrong flag:
// 2, after saying why on stderr).
std::optional<nlohmann::json> spec_from_flags(int argc, char** argv, int& status);

// From a checked spec; relative paths are taken from `folder`. Reads the key file, or SLIPWAY_API_KEY where the spec
// names none. Throws base::Error.
ServeSettings settings_from_spec(const nlohmann::json& spec, const std::filesystem::path& folder);

}  // namespace slipway::serve
