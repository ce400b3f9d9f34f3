#include "backend/service/serving_settings.h"

#include <algorithm>
#include <string>

namespace slipway::service {
namespace {

using workflows::Json;

constexpr int64_t kSequences = 64, kQueue = 256;

void check_type(const std::string& field, const std::vector<std::string>& known, std::string& value,
                std::vector<base::FieldViolation>& violations) {
  if (value.empty()) value = "auto";
  if (std::find(known.begin(), known.end(), value) != known.end()) return;
  std::string choices;
  for (const std::string& one : known) {
    choices += (choices.empty() ? "" : &one == &known.back() ? " or " : ", ") + one;
  }
  violations.push_back({field, "'" + value + "' is not a number format for it", "use " + choices});
}

}  // namespace

std::vector<base::FieldViolation> check_serving(domain::ServingSettings& settings) {
  std::vector<base::FieldViolation> violations;
  check_type("dtype", {"auto", "f32", "bf16", "int8", "int4"}, settings.dtype, violations);
  check_type("kv_cache_dtype", {"auto", "f32", "bf16", "int8"}, settings.kv_cache_dtype, violations);
  const auto within = [&](const char* field, int64_t value, int64_t most) {
    if (value >= 0 && value <= most) return;
    violations.push_back({field, std::to_string(value) + " is not from 0 to " + std::to_string(most),
                          "use a number in between; 0 leaves it to the engine"});
  };
  within("max_model_len", settings.max_model_len, 1 << 24);
  within("max_num_seqs", settings.max_num_seqs, 4096);
  within("queue", settings.queue, 1'000'000);
  within("kv_cache_tokens", settings.kv_cache_tokens, int64_t{1} << 40);
  within("threads", settings.threads, 4096);
  within("speculative_tokens", settings.speculative_tokens, 64);
  return violations;
}

void add_to_spec(const domain::ServingSettings& settings, Json& spec) {
  spec["model"]["dtype"] = settings.dtype;
  Json& limits = spec["limits"];
  limits["max_num_seqs"] = settings.max_num_seqs > 0 ? settings.max_num_seqs : kSequences;
  limits["queue"] = settings.queue > 0 ? settings.queue : kQueue;
  if (settings.max_model_len > 0) limits["max_model_len"] = settings.max_model_len;
  if (settings.kv_cache_tokens > 0) limits["kv_cache_tokens"] = settings.kv_cache_tokens;
  if (settings.kv_cache_dtype != "auto") spec["kv_cache_dtype"] = settings.kv_cache_dtype;
  if (settings.threads > 0) spec["threads"] = settings.threads;
  if (settings.speculative_tokens > 0) spec["speculative_tokens"] = settings.speculative_tokens;
}

}  // namespace slipway::service
