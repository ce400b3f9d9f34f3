#include "agents/engine/train/publishing/gguf_export.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "agents/engine/model/gguf.h"
#include "agents/engine/model/gguf_names.h"
#include "agents/engine/model/gguf_writer.h"
#include "agents/engine/text/gguf_vocabulary.h"
#include "backend/base/error.h"

namespace slipway::train {

namespace {

namespace fs = std::filesystem;

// Families whose decoder is llama.cpp's architecture of this name, with nothing but the common keys.
struct GgufFamily {
  const char* family;
  const char* architecture;
};
constexpr std::array<GgufFamily, 4> kFamilies = {
    GgufFamily{"llama", "llama"}, {"mistral", "llama"}, {"qwen2", "qwen2"}, {"qwen3", "qwen3"}};

bool is_gguf(const fs::path& path) { return path.extension() == ".gguf"; }

base::Error unsupported(const std::string& what) {
  return {base::kUnsupported, what, "set output.gguf to \"\"; output.merged holds the same model"};
}

const char* architecture_name(const model::Architecture& a) {
  const auto* const found =
      std::find_if(kFamilies.begin(), kFamilies.end(), [&](const GgufFamily& one) { return a.family == one.family; });
  if (found == kFamilies.end()) {
    throw unsupported("models of the family " + a.family + " are written as GGUF only when their base is GGUF, too");
  }
  if (a.rope.scaling != model::RopeScaling::kNone || a.sliding_window > 0) {
    throw unsupported("rotary scaling and sliding windows are written as GGUF only when the base is GGUF, too");
  }
  return found->architecture;
}

void add_metadata(model::GgufWriter& writer, const model::Architecture& a, model::DType matrices) {
  const std::string name = architecture_name(a);
  const auto key = [&](const char* suffix) { return name + "." + suffix; };
  const auto number = [&](const char* suffix, int64_t value) {
    writer.add_u32(key(suffix), static_cast<uint32_t>(value));
  };
  writer.add("general.architecture", std::string_view(name));
  writer.add("general.type", std::string_view("model"));
  writer.add_u32("general.file_type", matrices == model::DType::kBF16 ? 32 : 1);
  number("context_length", a.max_position_embeddings);
  number("embedding_length", a.hidden_size);
  number("block_count", a.num_hidden_layers);
  number("feed_forward_length", a.intermediate_size);
  number("attention.head_count", a.num_attention_heads);
  number("attention.head_count_kv", a.num_key_value_heads);
  number("attention.key_length", a.head_dim);
  number("attention.value_length", a.head_dim);
  number("rope.dimension_count", a.rotary_dim);
  number("vocab_size", a.vocab_size);
  writer.add_f32(key("rope.freq_base"), static_cast<float>(a.rope.theta));
  writer.add_f32(key("attention.layer_norm_rms_epsilon"), static_cast<float>(a.rms_norm_eps));
}

void add_vocabulary(model::GgufWriter& writer, const fs::path& folder, int64_t size) {
  const text::GgufVocabulary vocabulary = text::gguf_vocabulary(folder, size);
  writer.add("tokenizer.ggml.model", std::string_view("gpt2"));
  writer.add("tokenizer.ggml.pre", std::string_view(vocabulary.pre_tokenizer));
  writer.add("tokenizer.ggml.tokens", std::span<const std::string>(vocabulary.tokens));
  writer.add("tokenizer.ggml.token_type", std::span<const int32_t>(vocabulary.types));
  writer.add("tokenizer.ggml.merges", std::span<const std::string>(vocabulary.merges));
  const auto id = [&](const char* key, const std::optional<text::TokenId>& value) {
    if (value) writer.add_u32(key, static_cast<uint32_t>(*value));
  };
  id("tokenizer.ggml.bos_token_id", vocabulary.bos);
  id("tokenizer.ggml.eos_token_id", vocabulary.eos);
  id("tokenizer.ggml.padding_token_id", vocabulary.pad);
  writer.add("tokenizer.ggml.add_bos_token", vocabulary.add_bos);
  if (!vocabulary.chat_template.empty())
    writer.add("tokenizer.chat_template", std::string_view(vocabulary.chat_template));
}

// Rows in the order of llama.cpp's rotary kernel: of each head 0, d/2, 1, d/2 + 1, …
void interleave_rows(std::vector<float>& values, int64_t rows, int64_t heads) {
  const int64_t width = static_cast<int64_t>(values.size()) / rows, half = rows / heads / 2;
  std::vector<float> ordered(values.size());
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t head = row / (2 * half), within = row % (2 * half);
    const int64_t stored = head * 2 * half + 2 * (within % half) + within / half;
    std::copy_n(values.begin() + row * width, width, ordered.begin() + stored * width);
  }
  values = std::move(ordered);
}

// Query, key and value that one tensor of the file holds.
std::vector<std::string> parts_of(const std::string& name) {
  constexpr std::string_view kJoined = "qkv_proj";
  const size_t at = name.find(kJoined);
  if (at == std::string::npos) return {name};
  std::vector<std::string> parts;
  for (const char* part : {"q_proj", "k_proj", "v_proj"})
    parts.push_back(std::string(name).replace(at, kJoined.size(), part));
  return parts;
}

}  // namespace

void check_gguf_export(const fs::path& base_path, const model::Architecture& architecture) {
  if (is_gguf(base_path)) return;
  architecture_name(architecture);
  text::gguf_vocabulary(base_path, architecture.vocab_size);
}

void write_gguf(const fs::path& path, const fs::path& base_path, const model::Architecture& architecture,
                const model::ReadTensor& read, model::DType matrices) {
  model::GgufWriter writer;
  const std::vector<model::DecoderTensor> tensors = model::decoder_tensors(architecture);
  const auto elements_of = [&](const std::string& name) {
    const auto found =
        std::find_if(tensors.begin(), tensors.end(), [&](const auto& one) { return one.name() == name; });
    int64_t elements = 1;
    for (const int64_t dimension : found->shape) elements *= dimension;
    return elements;
  };
  const auto values_of = [&](const std::string& name, bool permuted) {
    std::vector<float> all;
    for (const std::string& part : parts_of(name)) {
      std::vector<float> values(static_cast<size_t>(elements_of(part)));
      read(part, values);
      if (permuted && model::has_permuted_rows(part)) {
        const bool query = part.find(".q_proj.") != std::string::npos;
        const int64_t heads = query ? architecture.num_attention_heads : architecture.num_key_value_heads;
        interleave_rows(values, heads * architecture.head_dim, heads);
      }
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  };
  const auto add = [&](const std::string& gguf_name, const std::string& name, std::vector<int64_t> dimensions,
                       bool permuted) {
    const model::DType type = dimensions.size() == 1 ? model::DType::kF32 : matrices;
    writer.add_tensor(gguf_name, type, std::move(dimensions),
                      [&, name, permuted] { return values_of(name, permuted); });
  };
  if (is_gguf(base_path)) {
    const model::GgufFile base(base_path);
    for (const std::string_view key : base.keys()) {
      if (key == "general.file_type") {
        writer.add_u32(key, matrices == model::DType::kBF16 ? 32 : 1);
      } else if (key != "general.quantization_version") {
        writer.add(key, base.get(key));
      }
    }
    const bool permuted = base.get_string("general.architecture") == "llama";
    for (const model::GgufTensor& tensor : base.tensors()) {
      if (const auto name = model::decoder_name(tensor.name)) {
        add(std::string(tensor.name), *name, tensor.dimensions, permuted);
      } else {
        writer.add_tensor(std::string(tensor.name), model::DType::kF32, tensor.dimensions, [data = tensor.data] {
          std::vector<float> values(data.size() / sizeof(float));
          std::copy_n(reinterpret_cast<const float*>(data.data()), values.size(), values.begin());
          return values;
        });
      }
    }
    writer.write(path);
    return;
  }
  add_metadata(writer, architecture, matrices);
  add_vocabulary(writer, base_path, architecture.vocab_size);
  const bool permuted = std::string(architecture_name(architecture)) == "llama";
  for (const model::DecoderTensor& tensor : tensors) {
    add(model::gguf_name(tensor.name()), tensor.name(), {tensor.shape.rbegin(), tensor.shape.rend()}, permuted);
  }
  writer.write(path);
}

}  // namespace slipway::train
