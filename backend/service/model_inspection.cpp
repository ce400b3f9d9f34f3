#include "backend/service/model_inspection.h"

#include <algorithm>
#include <map>
#include <optional>

#include "agents/engine/model/adapter.h"
#include "agents/engine/model/architecture.h"
#include "agents/engine/model/weights.h"
#include "agents/engine/text/chat_template.h"
#include "agents/engine/text/tokenizer.h"
#include "backend/base/error.h"
#include "backend/base/status.h"

namespace slipway::service {
namespace {

namespace fs = std::filesystem;

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

absl::Status refused(const std::string& reason, const std::string& message, const std::string& advice) {
  return base::error(absl::StatusCode::kInvalidArgument, message, {reason, "artifact_id", advice});
}

// The engines' readers name files by their place in the store, which means nothing to who uploaded them.
std::string without_folder(std::string text, const fs::path& folder) {
  const std::string prefix = folder.string() + "/";
  for (size_t at = text.find(prefix); at != std::string::npos; at = text.find(prefix)) text.erase(at, prefix.size());
  return text;
}

// The one folder that all files lie in, when there is one: people upload a folder as a whole.
std::string common_folder(const artifacts::Manifest& manifest) {
  const std::string& first = manifest.files.front().path;
  const size_t slash = first.find('/');
  if (slash == std::string::npos) return "";
  const std::string folder = first.substr(0, slash);
  const bool all = std::all_of(manifest.files.begin(), manifest.files.end(), [&](const artifacts::FileEntry& file) {
    return file.path.compare(0, slash + 1, folder + "/") == 0;
  });
  return all ? folder : "";
}

std::string main_dtype(const model::Weights& weights) {
  std::map<std::string, int64_t> elements;
  for (const std::string& name : weights.names()) {
    const model::TensorView tensor = weights.get(name);
    elements[model::dtype_name(tensor.dtype)] += tensor.elements();
  }
  const auto most = std::max_element(elements.begin(), elements.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == elements.end() ? "" : most->first;
}

void check_shape(const model::Weights& weights, const std::string& name, std::vector<int64_t> expected) {
  const model::TensorView tensor = weights.get(name);  // throws when it is missing
  if (tensor.shape == expected) return;
  const auto text = [](const std::vector<int64_t>& shape) {
    std::string joined;
    for (const int64_t extent : shape) joined += (joined.empty() ? "" : "x") + std::to_string(extent);
    return joined;
  };
  throw base::Error(
      base::kInvalidModel,
      "tensor " + name + " has the shape " + text(tensor.shape) + ", and the configuration says " + text(expected),
      "the files do not belong together: download or export the model again");
}

// Every matrix that the generic decoder reads is there, in its shape.
void check_tensors(const model::Weights& weights, const model::Architecture& architecture) {
  const int64_t hidden = architecture.hidden_size;
  const int64_t wide = architecture.num_attention_heads * architecture.head_dim;
  const int64_t narrow = architecture.num_key_value_heads * architecture.head_dim;
  check_shape(weights, "model.embed_tokens.weight", {architecture.vocab_size, hidden});
  check_shape(weights, "model.norm.weight", {hidden});
  if (!architecture.tie_word_embeddings) check_shape(weights, "lm_head.weight", {architecture.vocab_size, hidden});
  for (int64_t layer = 0; layer < architecture.num_hidden_layers; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    check_shape(weights, prefix + "input_layernorm.weight", {hidden});
    check_shape(weights, prefix + "post_attention_layernorm.weight", {hidden});
    check_shape(weights, prefix + "self_attn.q_proj.weight", {wide, hidden});
    check_shape(weights, prefix + "self_attn.k_proj.weight", {narrow, hidden});
    check_shape(weights, prefix + "self_attn.v_proj.weight", {narrow, hidden});
    check_shape(weights, prefix + "self_attn.o_proj.weight", {hidden, wide});
    check_shape(weights, prefix + "mlp.gate_proj.weight", {architecture.intermediate_size, hidden});
    check_shape(weights, prefix + "mlp.up_proj.weight", {architecture.intermediate_size, hidden});
    check_shape(weights, prefix + "mlp.down_proj.weight", {hidden, architecture.intermediate_size});
  }
}

ModelInspection inspect_base(const fs::path& path, const std::string& container) {
  ModelInspection inspection;
  const model::Architecture architecture = model::load_architecture(path);
  const auto weights = model::open_weights(path);
  check_tensors(*weights, architecture);
  const auto tokenizer = text::load_tokenizer(path);
  if (tokenizer->vocab_size() > architecture.vocab_size) {
    throw base::Error(base::kInvalidModel,
                      "the tokenizer has " + std::to_string(tokenizer->vocab_size()) + " tokens, the model only " +
                          std::to_string(architecture.vocab_size),
                      "use the tokenizer that belongs to the model");
  }
  inspection.has_chat_template = !tokenizer->chat_template().empty();
  if (inspection.has_chat_template) text::ChatTemplate parsed(tokenizer->chat_template());
  inspection.family = architecture.family;
  inspection.parameter_count = architecture.parameter_count();
  inspection.context_length = architecture.max_position_embeddings;
  inspection.format = container + " " + main_dtype(*weights);
  return inspection;
}

ModelInspection inspect_adapter(const fs::path& folder) {
  const model::Adapter adapter = model::load_adapter(folder);
  ModelInspection inspection;
  inspection.adapter = true;
  inspection.base_name = adapter.config.base_model_name_or_path;
  inspection.format = "peft lora r=" + std::to_string(adapter.config.r);
  for (const model::AdapterTensor& tensor : adapter.tensors) {
    inspection.parameter_count += static_cast<int64_t>(tensor.a.size() + tensor.b.size());
  }
  return inspection;
}

}  // namespace

absl::StatusOr<ModelInspection> inspect_model(const fs::path& folder, const artifacts::Manifest& manifest) {
  std::vector<std::string> ggufs;
  for (const artifacts::FileEntry& file : manifest.files) {
    if (ends_with(file.path, ".gguf")) ggufs.push_back(file.path);
  }
  const std::string root = common_folder(manifest);
  const auto has = [&](const char* name) { return manifest.find(root.empty() ? name : root + "/" + name) != nullptr; };
  try {
    if (has("adapter_config.json")) {
      ModelInspection inspection = inspect_adapter(folder / root);
      inspection.path = root;
      return inspection;
    }
    if (has("config.json")) {
      ModelInspection inspection = inspect_base(folder / root, "safetensors");
      inspection.path = root;
      return inspection;
    }
    if (ggufs.size() > 1) {
      return refused("UNSUPPORTED", "there are " + std::to_string(ggufs.size()) + " .gguf files",
                     "upload the one that you want, as a model of its own");
    }
    if (ggufs.size() == 1) {
      ModelInspection inspection = inspect_base(folder / ggufs[0], "gguf");
      inspection.path = ggufs[0];
      return inspection;
    }
  } catch (const base::Error& error) {
    return refused(error.code(), without_folder(error.what(), folder), without_folder(error.advice(), folder));
  } catch (const std::exception& error) {
    // The readers' own exceptions are base::Error; what else a library throws is a file that nobody can read.
    return refused(base::kInvalidModel, without_folder(error.what(), folder), "download or export the model again");
  }
  return refused("NOT_A_MODEL", "there is no config.json, adapter_config.json or .gguf file among the files",
                 "upload a Hugging Face model folder, a PEFT adapter folder, or one .gguf file");
}

absl::Status check_adapter_fits(const fs::path& adapter_folder, const fs::path& base_path) {
  try {
    const model::Adapter adapter = model::load_adapter(adapter_folder);
    const auto weights = model::open_weights(base_path);
    for (const model::AdapterTensor& tensor : adapter.tensors) {
      const model::TensorView target = weights->get(tensor.module + ".weight");
      if (target.shape == std::vector<int64_t>{tensor.out_features, tensor.in_features}) continue;
      return refused("ADAPTER_DOES_NOT_FIT",
                     "the adapter's " + tensor.module + " has another shape than the base model's",
                     "import the adapter's own base model first");
    }
  } catch (const base::Error& error) {
    return refused("ADAPTER_DOES_NOT_FIT",
                   without_folder(without_folder(error.what(), adapter_folder), base_path.parent_path()),
                   "import the adapter's own base model first");
  }
  return absl::OkStatus();
}

}  // namespace slipway::service
