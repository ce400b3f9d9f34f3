#include "agents/engine/serve/memory_estimate.h"

#include <algorithm>

namespace slipway::serve {
namespace {

constexpr int64_t kDefaultMaxLength = 8192;          // as the engine's
constexpr int64_t kDefaultTokensPerSequence = 1024;  // as the engine's

double bytes_per_weight(runtime::WeightType type) {
  switch (type) {
    case runtime::WeightType::kF32:
      break;
    case runtime::WeightType::kBF16:
      return 2;
    case runtime::WeightType::kInt8:
      return 1.125;  // scales of groups
    case runtime::WeightType::kInt4:
      return 0.625;
  }
  return 4;
}

// Scales of its vectors included.
double bytes_per_cached_number(const model::Architecture& architecture, const runtime::EngineOptions& options) {
  switch (options.cache_type) {
    case runtime::CacheType::kAuto:
      break;
    case runtime::CacheType::kF32:
      return 4;
    case runtime::CacheType::kBF16:
      return 2;
    case runtime::CacheType::kInt8:
      return 1 + 4.0 / static_cast<double>(architecture.head_dim);
  }
  return options.weight_type == runtime::WeightType::kF32 ? 4 : 2;
}

}  // namespace

int64_t served_length(const model::Architecture& architecture, const runtime::EngineOptions& options) {
  return options.max_model_len > 0 ? options.max_model_len
                                   : std::min(architecture.max_position_embeddings, kDefaultMaxLength);
}

int64_t estimate_memory(const model::Architecture& architecture, const runtime::EngineOptions& options) {
  const int64_t wanted =
      options.kv_cache_tokens > 0 ? options.kv_cache_tokens : options.max_num_seqs * kDefaultTokensPerSequence;
  const int64_t tokens = std::max(wanted, served_length(architecture, options));
  const int64_t numbers =
      tokens * architecture.num_hidden_layers * architecture.num_key_value_heads * architecture.head_dim * 2;
  const double cache = static_cast<double>(numbers) * bytes_per_cached_number(architecture, options);
  const double weights = static_cast<double>(architecture.parameter_count()) * bytes_per_weight(options.weight_type);
  return static_cast<int64_t>(weights + cache);
}

}  // namespace slipway::serve
