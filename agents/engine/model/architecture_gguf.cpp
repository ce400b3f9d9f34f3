#include "agents/engine/model/architecture_gguf.h"

#include <algorithm>
#include <cmath>

#include "agents/engine/model/config_reader.h"
#include "agents/engine/model/dequantize.h"
#include "agents/engine/model/family.h"
#include "agents/engine/model/gguf.h"
#include "agents/engine/model/rope.h"
#include "backend/base/error.h"

namespace slipway::model {
namespace {

// Numbers per frequency from a tensor; empty when it is not there.
std::vector<float> frequency_factors(const GgufFile& file, const char* name, const Architecture& architecture) {
  const GgufTensor* tensor = file.find_tensor(name);
  if (tensor == nullptr) return {};
  const auto half = static_cast<size_t>(std::clamp<int64_t>(architecture.rotary_dim, 0, 1 << 12) / 2);
  if (tensor->dtype != DType::kF32 || tensor->data.size() != half * sizeof(float)) {
    throw base::Error(base::kInvalidModel,
                      file.origin() + ": tensor " + name + " is not one number in F32 per rotary frequency (" +
                          std::to_string(half) + ")",
                      "convert the model again");
  }
  std::vector<float> factors(half);
  dequantize(DType::kF32, tensor->data, factors);
  return factors;
}

// Llama 3.1's rotary scaling is not in the metadata but baked into a tensor of per-frequency divisors. Its parameters
// follow from it: such models use low 1, high 4 and 8,192 positions, and the largest divisor is the factor. Divisors of
// another making are taken as they are.
void read_rope_divisors(const GgufFile& file, Architecture& architecture) {
  const auto divisors = frequency_factors(file, "rope_freqs.weight", architecture);
  if (divisors.empty()) return;
  Architecture scaled = architecture;
  scaled.rope.scaling = RopeScaling::kLlama3;
  scaled.rope.factor = *std::max_element(divisors.begin(), divisors.end());
  const auto plain = rope_inverse_frequencies(architecture);
  const auto wanted = rope_inverse_frequencies(scaled);
  for (size_t i = 0; i < divisors.size(); ++i) {
    if (std::abs(plain[i] / divisors[i] - wanted[i]) <= 1e-4F * wanted[i]) continue;
    scaled.rope = architecture.rope;
    scaled.rope.scaling = RopeScaling::kLongRope;
    scaled.rope.short_factors.assign(divisors.begin(), divisors.end());
    scaled.rope.original_max_position = architecture.max_position_embeddings;
    break;
  }
  check_rope(scaled.rope, scaled.rotary_dim, file.origin());
  scaled.local_rope = scaled.rope;
  architecture = scaled;
}

void read_rope(const GgufFile& file, Architecture& architecture) {
  const auto key = [&](const char* name) { return gguf_key(file, name); };
  Rope& rope = architecture.rope;
  rope.theta = file.find_float(key("rope.freq_base")).value_or(10000.0);
  architecture.rotary_dim = file.find_int(key("rope.dimension_count")).value_or(architecture.head_dim);
  const std::string scaling(file.find_string(key("rope.scaling.type")).value_or("none"));
  const auto short_factors = frequency_factors(file, "rope_factors_short.weight", architecture);
  if (!short_factors.empty()) {
    // Beyond the length it was trained on, such a model has other factors; only what one table can serve is offered.
    rope.scaling = RopeScaling::kLongRope;
    rope.original_max_position =
        file.find_int(key("rope.scaling.original_context_length")).value_or(architecture.max_position_embeddings);
    rope.short_factors.assign(short_factors.begin(), short_factors.end());
    rope.attention_factor = file.find_float(key("rope.scaling.attn_factor")).value_or(1.0);
    architecture.max_position_embeddings = std::min(architecture.max_position_embeddings, rope.original_max_position);
  } else if (scaling == "linear") {
    rope.scaling = RopeScaling::kLinear;
    rope.factor = file.get_float(key("rope.scaling.factor"));
  } else if (scaling == "yarn") {
    rope.scaling = RopeScaling::kYarn;
    rope.factor = file.get_float(key("rope.scaling.factor"));
    rope.original_max_position = file.get_int(key("rope.scaling.original_context_length"));
    rope.beta_fast = file.find_float(key("rope.scaling.yarn_beta_fast")).value_or(32.0);
    rope.beta_slow = file.find_float(key("rope.scaling.yarn_beta_slow")).value_or(1.0);
    rope.attention_factor = rope.factor <= 1 ? 1.0 : 0.1 * std::log(rope.factor) + 1.0;
  } else if (scaling != "none") {
    fail_unsupported(file.origin(), "rope.scaling.type is '" + scaling.substr(0, 80) + "'",
                     "none, linear, llama3, yarn, longrope");
  }
  architecture.local_rope = rope;
}

int32_t token_id(const GgufFile& file, const char* key) {
  const auto id = file.find_int(key);
  return id && *id >= 0 && *id <= INT32_MAX ? static_cast<int32_t>(*id) : -1;
}

}  // namespace

Architecture architecture_from_gguf(const std::filesystem::path& path) {
  const GgufFile file(path);
  const std::string name(file.get_string("general.architecture"));
  const Family* family = find_gguf_family(name);
  if (family == nullptr) {
    fail_unsupported(file.origin(), "general.architecture is '" + name.substr(0, 80) + "'", known_gguf_architectures());
  }
  const auto key = [&](const char* suffix) { return name + "." + suffix; };
  if (file.find_int(key("expert_count")).value_or(0) > 0)
    fail_unsupported(file.origin(), "it is a mixture of experts", "dense models");

  Architecture architecture;
  architecture.family = family->model_types[0];
  architecture.hidden_size = file.get_int(key("embedding_length"));
  architecture.intermediate_size = file.get_int(key("feed_forward_length"));
  architecture.num_hidden_layers = file.get_int(key("block_count"));
  architecture.num_attention_heads = file.get_int(key("attention.head_count"));
  architecture.num_key_value_heads =
      file.find_int(key("attention.head_count_kv")).value_or(architecture.num_attention_heads);
  const int64_t heads = std::max<int64_t>(architecture.num_attention_heads, 1);
  architecture.head_dim = file.find_int(key("attention.key_length")).value_or(architecture.hidden_size / heads);
  architecture.max_position_embeddings = file.get_int(key("context_length"));
  const auto rms = file.find_float(key("attention.layer_norm_rms_epsilon"));
  architecture.rms_norm_eps = shortest_decimal(rms ? *rms : file.get_float(key("attention.layer_norm_epsilon")));
  read_rope(file, architecture);

  const GgufTensor* embeddings = file.find_tensor("token_embd.weight");
  if (embeddings == nullptr || embeddings->dimensions.size() != 2) {
    throw base::Error(base::kInvalidModel, file.origin() + ": tensor token_embd.weight is missing or no matrix",
                      "convert the model again");
  }
  architecture.vocab_size = embeddings->dimensions[1];
  architecture.tie_word_embeddings = file.find_tensor("output.weight") == nullptr;
  family->from_gguf(file, architecture);
  if (family == &kLlamaFamily && architecture.rotary_dim != architecture.head_dim) {
    fail_unsupported(file.origin(), "rope.dimension_count is not the head's size", "rotation of the whole head");
  }
  if (architecture.attention_scale == 0 && architecture.head_dim > 0) {
    architecture.attention_scale = 1 / std::sqrt(static_cast<double>(architecture.head_dim));
  }
  check_architecture(architecture, file.origin());
  if (architecture.positions == PositionKind::kRotary) read_rope_divisors(file, architecture);

  for (const char* id_key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    const int32_t id = token_id(file, id_key);
    auto& ids = architecture.eos_token_ids;
    if (id >= 0 && std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }
  architecture.bos_token_id = token_id(file, "tokenizer.ggml.bos_token_id");
  architecture.pad_token_id = token_id(file, "tokenizer.ggml.padding_token_id");
  return architecture;
}

}  // namespace slipway::model
