#include "agents/engine/runtime/engine_options.h"

#include <algorithm>
#include <utility>

#include "agents/engine/model/container.h"
#include "agents/engine/model/decoder_tensors.h"
#include "agents/engine/runtime/kv_cache.h"
#include "agents/engine/runtime/weight_loader.h"
#include "backend/base/error.h"

namespace slipway::runtime {
namespace {

constexpr int64_t kDefaultMaxLength = 8192;
constexpr int64_t kDefaultTokensPerSequence = 1024;
constexpr int64_t kMostCacheTokens = int64_t{1} << 30U;
constexpr int64_t kPromptTokensAlone = 256;  // in one step, while nobody waits for a next token
constexpr int64_t kAttentionCost = 2;        // of its multiplications, beside those by weights; measured

// See SchedulerOptions. Layers with a window leave their bound soon and are not counted.
int64_t positions_per_token(const model::Architecture& architecture) {
  int64_t weights = 0, full_layers = 0;
  for (const model::DecoderTensor& tensor : model::decoder_tensors(architecture)) {
    const bool of_layers = tensor.role != model::Role::kEmbeddings && tensor.role != model::Role::kOutput &&
                           tensor.role != model::Role::kPositions;
    if (of_layers && tensor.shape.size() == 2) weights += tensor.shape[0] * tensor.shape[1];
  }
  for (int64_t i = 0; i < architecture.num_hidden_layers; ++i) full_layers += architecture.is_windowed(i) ? 0 : 1;
  const int64_t of_position = 2 * full_layers * architecture.num_attention_heads * architecture.head_dim;
  return of_position == 0 ? 0 : std::max<int64_t>(1, weights / (kAttentionCost * of_position));
}

}  // namespace

int64_t checked_max_length(const EngineOptions& options, const model::Architecture& architecture) {
  const int64_t limit = architecture.max_position_embeddings;
  if (options.max_model_len < 0 || options.max_model_len > limit) {
    throw base::Error(base::kInvalidSpec,
                      "max_model_len is " + std::to_string(options.max_model_len) + ", the model's own limit is " +
                          std::to_string(limit),
                      "give 1 to " + std::to_string(limit) + ", or 0 for the model's limit");
  }
  return options.max_model_len > 0 ? options.max_model_len : std::min(limit, kDefaultMaxLength);
}

int64_t cache_pages(const EngineOptions& options, int64_t max_length) {
  const int64_t wanted =
      options.kv_cache_tokens > 0 ? options.kv_cache_tokens : options.max_num_seqs * kDefaultTokensPerSequence;
  return KvCache::pages_for(std::max(wanted, max_length));
}

kernels::WeightFormat weight_format(WeightType type) {
  switch (type) {
    case WeightType::kF32:
      break;
    case WeightType::kBF16:
      return kernels::WeightFormat::kBF16;
    case WeightType::kInt8:
      return kernels::WeightFormat::kInt8;
    case WeightType::kInt4:
      return kernels::WeightFormat::kInt4;
  }
  return kernels::WeightFormat::kF32;
}

int weight_bits(WeightType type) {
  switch (type) {
    case WeightType::kF32:
      break;
    case WeightType::kBF16:
      return 16;
    case WeightType::kInt8:
      return 8;
    case WeightType::kInt4:
      return 4;
  }
  return 32;
}

kernels::CacheFormat cache_format(const EngineOptions& options) {
  switch (options.cache_type) {
    case CacheType::kAuto:
      break;
    case CacheType::kF32:
      return kernels::CacheFormat::kF32;
    case CacheType::kBF16:
      return kernels::CacheFormat::kBF16;
    case CacheType::kInt8:
      return kernels::CacheFormat::kInt8;
  }
  return options.weight_type == WeightType::kF32 ? kernels::CacheFormat::kF32 : kernels::CacheFormat::kBF16;
}

EngineOptions checked(EngineOptions options) {
  if (options.max_num_seqs < 1 || options.max_num_seqs > 4096) {
    throw base::Error(base::kInvalidSpec, "max_num_seqs is " + std::to_string(options.max_num_seqs), "give 1 to 4096");
  }
  if (options.kv_cache_tokens < 0 || options.kv_cache_tokens > kMostCacheTokens) {
    throw base::Error(base::kInvalidSpec, "kv_cache_tokens is " + std::to_string(options.kv_cache_tokens),
                      "give up to " + std::to_string(kMostCacheTokens) + ", or 0 for what max_num_seqs suggests");
  }
  const auto check = [](const char* name, int64_t value, int64_t least, int64_t most) {
    if (value >= least && value <= most) return;
    throw base::Error(base::kInvalidSpec, std::string(name) + " is " + std::to_string(value),
                      "give " + std::to_string(least) + " to " + std::to_string(most));
  };
  check("prompt_tokens_beside", options.prompt_tokens_beside, 1, 1 << 20);
  check("speculative_tokens", options.speculative_tokens, 0, 64);
  check("adapters_in_memory", options.adapters_in_memory, 1, 1 << 20);
  return options;
}

SchedulerOptions scheduler_options(const EngineOptions& options, const model::Architecture& architecture) {
  SchedulerOptions result;
  result.positions_per_token = positions_per_token(architecture);
  result.max_num_seqs = options.max_num_seqs;
  result.prompt_tokens_alone = std::max(kPromptTokensAlone, options.prompt_tokens_beside);
  result.prompt_tokens_beside = options.prompt_tokens_beside;
  result.speculative_tokens = options.speculative_tokens;
  return result;
}

std::string weight_type_name(WeightType type) { return format_name(weight_format(type)); }

WeightType choose_weight_type(const std::string& dtype, const std::filesystem::path& model) {
  const std::string wanted = dtype != "auto"              ? dtype
                             : model::is_container(model) ? model::Container(model).weights()
                                                          : "";
  if (dtype != "auto" && model::is_container(model)) {
    const std::string there = model::Container(model).weights();
    if (dtype != there) {
      throw base::Error(base::kUnsupported, model.string() + " holds " + there + " weights, dtype is " + dtype,
                        "give dtype auto, or quantise the model again with --dtype " + dtype);
    }
  }
  for (const auto type : {WeightType::kF32, WeightType::kBF16, WeightType::kInt8, WeightType::kInt4}) {
    if (wanted == weight_type_name(type)) return type;
  }
  if (!wanted.empty()) {
    throw base::Error(base::kUnsupported, "dtype " + wanted + " is not known", "known: auto, f32, bf16, int8, int4");
  }
  constexpr char kSample[] = "model.layers.0.mlp.down_proj.weight";
  const auto weights = model::open_decoder_weights(model, model::load_architecture(model));
  const bool bf16 = weights->contains(kSample) && weights->get(kSample).dtype == model::DType::kBF16;
  return bf16 ? WeightType::kBF16 : WeightType::kF32;
}

CacheType choose_cache_type(const std::string& dtype) {
  constexpr std::pair<const char*, CacheType> kNames[] = {
      {"auto", CacheType::kAuto}, {"f32", CacheType::kF32}, {"bf16", CacheType::kBF16}, {"int8", CacheType::kInt8}};
  for (const auto& [name, type] : kNames) {
    if (dtype == name) return type;
  }
  throw base::Error(base::kUnsupported, "kv_cache_dtype " + dtype + " is not known", "known: auto, f32, bf16, int8");
}

}  // namespace slipway::runtime
