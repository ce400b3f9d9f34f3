#include "agents/engine/model/architecture_gguf.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "agents/engine/model/dequantize.h"
#include "agents/engine/model/gguf.h"
#include "backend/base/error.h"

namespace slipway::model {
namespace {

[[noreturn]] void unsupported(const GgufFile& file, const std::string& what, const std::string& known) {
  throw base::Error(base::kUnsupported, file.origin() + ": " + what, "known: " + known);
}

// Llama 3.1's rotary scaling is not in the metadata but baked into a tensor of per-frequency divisors. Its parameters
// follow from it: every such model uses low 1, high 4 and 8,192 positions, and the largest divisor is the factor.
void read_rope_divisors(const GgufFile& file, Architecture& architecture) {
  const GgufTensor* tensor = file.find_tensor("rope_freqs.weight");
  if (tensor == nullptr) return;
  const auto half = static_cast<size_t>(architecture.head_dim / 2);
  if (tensor->dtype != DType::kF32 || tensor->data.size() != half * sizeof(float)) {
    throw base::Error(base::kInvalidModel,
                      file.origin() + ": tensor rope_freqs.weight is not head_dim/2 numbers in F32",
                      "convert the model again");
  }
  std::vector<float> divisors(half);
  dequantize(DType::kF32, tensor->data, divisors);
  Architecture scaled = architecture;
  scaled.rope_scaling = RopeScaling::kLlama3;
  scaled.rope_scaling_factor = *std::max_element(divisors.begin(), divisors.end());
  const auto plain = rope_inverse_frequencies(architecture);
  const auto wanted = rope_inverse_frequencies(scaled);
  for (size_t i = 0; i < half; ++i) {
    if (!(std::abs(plain[i] / divisors[i] - wanted[i]) <= 1e-4F * wanted[i])) {
      unsupported(file, "the rotary scaling in rope_freqs.weight follows no known rule", "none, linear, llama3");
    }
  }
  architecture = scaled;
}

// GGUF stores f32; the decimal that was meant (1e-05, not 9.99999974e-06) is the shortest that reads back the same.
double shortest_decimal(double stored) {
  char text[64];
  const auto written = std::to_chars(text, text + sizeof text, static_cast<float>(stored));
  double value = stored;
  std::from_chars(text, written.ptr, value);
  return value;
}

int32_t token_id(const GgufFile& file, const char* key) {
  const auto id = file.find_int(key);
  return id && *id >= 0 && *id <= INT32_MAX ? static_cast<int32_t>(*id) : -1;
}

}  // namespace

Architecture architecture_from_gguf(const std::filesystem::path& path) {
  const GgufFile file(path);
  const std::string family(file.get_string("general.architecture"));
  if (family != "llama") unsupported(file, "general.architecture is '" + family.substr(0, 80) + "'", "llama");
  const auto key = [&](const char* name) { return family + "." + name; };
  if (file.find_int(key("expert_count")).value_or(0) > 0)
    unsupported(file, "it is a mixture of experts", "dense models");

  Architecture architecture;
  architecture.family = family;
  architecture.hidden_size = file.get_int(key("embedding_length"));
  architecture.intermediate_size = file.get_int(key("feed_forward_length"));
  architecture.num_hidden_layers = file.get_int(key("block_count"));
  architecture.num_attention_heads = file.get_int(key("attention.head_count"));
  architecture.num_key_value_heads =
      file.find_int(key("attention.head_count_kv")).value_or(architecture.num_attention_heads);
  const int64_t heads = std::max<int64_t>(architecture.num_attention_heads, 1);
  architecture.head_dim = file.find_int(key("attention.key_length")).value_or(architecture.hidden_size / heads);
  architecture.max_position_embeddings = file.get_int(key("context_length"));
  architecture.rms_norm_eps = shortest_decimal(file.get_float(key("attention.layer_norm_rms_epsilon")));
  architecture.rope_theta = file.find_float(key("rope.freq_base")).value_or(10000.0);
  if (file.find_int(key("rope.dimension_count")).value_or(architecture.head_dim) != architecture.head_dim) {
    unsupported(file, "rope.dimension_count is not the head's size", "rotation of the whole head");
  }
  const std::string scaling(file.find_string(key("rope.scaling.type")).value_or("none"));
  if (scaling == "linear") {
    architecture.rope_scaling = RopeScaling::kLinear;
    architecture.rope_scaling_factor = file.get_float(key("rope.scaling.factor"));
  } else if (scaling != "none") {
    unsupported(file, "rope.scaling.type is '" + scaling.substr(0, 80) + "'", "none, linear, llama3");
  }

  const GgufTensor* embeddings = file.find_tensor("token_embd.weight");
  if (embeddings == nullptr || embeddings->dimensions.size() != 2) {
    throw base::Error(base::kInvalidModel, file.origin() + ": tensor token_embd.weight is missing or no matrix",
                      "convert the model again");
  }
  architecture.vocab_size = embeddings->dimensions[1];
  architecture.tie_word_embeddings = file.find_tensor("output.weight") == nullptr;
  architecture.attention_bias = file.find_tensor("blk.0.attn_q.bias") != nullptr;
  architecture.mlp_bias = file.find_tensor("blk.0.ffn_gate.bias") != nullptr;
  check_architecture(architecture, file.origin());
  read_rope_divisors(file, architecture);

  for (const char* name : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    const int32_t id = token_id(file, name);
    auto& ids = architecture.eos_token_ids;
    if (id >= 0 && std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }
  architecture.bos_token_id = token_id(file, "tokenizer.ggml.bos_token_id");
  architecture.pad_token_id = token_id(file, "tokenizer.ggml.padding_token_id");
  return architecture;
}

}  // namespace slipway::model
