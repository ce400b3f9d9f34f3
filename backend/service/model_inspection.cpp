#include "backend/service/model_inspection.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string_view>

#include "agents/engine/model/adapter.h"
#include "agents/engine/model/architecture.h"
#include "agents/engine/model/container.h"
#include "agents/engine/model/decoder_tensors.h"
#include "agents/engine/model/prompt_adapter.h"
#include "agents/engine/text/chat_template.h"
#include "agents/engine/text/tokenizer.h"
#include "backend/base/error.h"
#include "backend/base/status.h"

namespace slipway::service {
namespace {

namespace fs = std::filesystem;

constexpr char kScoreHead[] = "score.weight";

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

// What the decoder's weights are, and that all of them are there.
std::string weight_format(const fs::path& path, const model::Architecture& architecture) {
  if (!model::is_container(path)) {
    const std::string file = ends_with(path.string(), ".gguf") ? "gguf " : "safetensors ";
    return file + main_dtype(*model::open_decoder_weights(path, architecture));
  }
  const model::Container container(path);
  for (const model::DecoderTensor& wanted : model::decoder_tensors(architecture)) {
    const std::string name = wanted.name();
    if (container.tensor(name).shape != wanted.shape) {
      throw base::Error(base::kInvalidModel, name + " has not the shape that the model's configuration asks for",
                        "quantise the model again");
    }
    container.verify(name);
  }
  return kQuantisedFormat + container.weights() + (container.method() == "rounded" ? "" : " " + container.method());
}

// Whether a sequence classifier's one label is a score. More labels are refused: nothing here knows what they mean.
bool is_reward_model(const fs::path& path, const model::Architecture& architecture) {
  const nlohmann::json names = architecture.source_config.is_object()
                                   ? architecture.source_config.value("architectures", nlohmann::json())
                                   : nlohmann::json();
  const bool classifier = names.is_array() && !names.empty() && names[0].is_string() &&
                          ends_with(names[0].get<std::string>(), "ForSequenceClassification");
  if (!classifier) return false;
  const auto weights = model::open_weights(path);
  const std::vector<int64_t> one_label = {1, architecture.hidden_size};
  if (!weights->contains(kScoreHead) || weights->get(kScoreHead).shape != one_label) {
    throw base::Error(base::kUnsupported,
                      std::string("this is a classifier whose ") + kScoreHead + " does not give one score",
                      "import a model that writes text, or a reward model (one label)");
  }
  return true;
}

ModelInspection inspect_base(const fs::path& path) {
  ModelInspection inspection;
  const model::Architecture architecture = model::load_architecture(path);
  inspection.format = weight_format(path, architecture);
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
  inspection.reward = is_reward_model(path, architecture);
  inspection.parameter_count = architecture.parameter_count() + (inspection.reward ? architecture.hidden_size : 0);
  inspection.context_length = architecture.max_position_embeddings;
  return inspection;
}

ModelInspection inspect_prompt(const fs::path& folder) {
  const model::PromptAdapter adapter = model::load_prompt_adapter(folder);
  ModelInspection inspection;
  inspection.adapter = true;
  inspection.base_name = adapter.base_model_name_or_path;
  inspection.format = "peft prompt tokens=" + std::to_string(adapter.virtual_tokens);
  if (adapter.tasks > 0) inspection.format += " tasks=" + std::to_string(adapter.tasks);
  inspection.tasks = adapter.tasks;
  inspection.parameter_count =
      static_cast<int64_t>(adapter.embeddings.size() + adapter.task_columns.size() + adapter.task_rows.size());
  return inspection;
}

ModelInspection inspect_adapter(const fs::path& folder) {
  if (model::is_prompt_adapter(folder)) return inspect_prompt(folder);
  const model::Adapter adapter = model::load_adapter(folder, model::DoraAdapters::kTaken, model::ScoreHeads::kTaken);
  ModelInspection inspection;
  inspection.adapter = true;
  inspection.reward = !adapter.score.empty();
  inspection.parameter_count = static_cast<int64_t>(adapter.score.size());
  inspection.base_name = adapter.config.base_model_name_or_path;
  inspection.format =
      std::string(adapter.config.use_dora ? "peft dora r=" : "peft lora r=") + std::to_string(adapter.config.r);
  for (const model::AdapterTensor& tensor : adapter.tensors) {
    inspection.parameter_count += static_cast<int64_t>(tensor.a.size() + tensor.b.size() + tensor.magnitude.size());
  }
  return inspection;
}

}  // namespace

absl::StatusOr<ModelInspection> inspect_model(const fs::path& folder, const artifacts::Manifest& manifest) {
  std::vector<std::string> single;  // files that are a model each
  for (const artifacts::FileEntry& file : manifest.files) {
    if (ends_with(file.path, ".gguf") || model::is_container(file.path)) single.push_back(file.path);
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
      ModelInspection inspection = inspect_base(folder / root);
      inspection.path = root;
      return inspection;
    }
    if (single.size() > 1) {
      return refused("UNSUPPORTED", "there are " + std::to_string(single.size()) + " models of one file each",
                     "upload the one that you want, as a model of its own");
    }
    if (single.size() == 1) {
      ModelInspection inspection = inspect_base(folder / single[0]);
      inspection.path = single[0];
      return inspection;
    }
  } catch (const base::Error& error) {
    return refused(error.code(), without_folder(error.what(), folder), without_folder(error.advice(), folder));
  } catch (const std::exception& error) {
    // The readers' own exceptions are base::Error; what else a library throws is a file that nobody can read.
    return refused(base::kInvalidModel, without_folder(error.what(), folder), "download or export the model again");
  }
  return refused("NOT_A_MODEL", "there is no config.json, adapter_config.json, .gguf or .slipway file among the files",
                 "upload a Hugging Face model folder, a PEFT adapter folder, or one .gguf or .slipway file");
}

absl::Status check_adapter_fits(const fs::path& adapter_folder, const fs::path& base_path) {
  try {
    const model::Architecture architecture = model::load_architecture(base_path);
    if (model::is_prompt_adapter(adapter_folder)) {
      const int64_t width = model::load_prompt_adapter(adapter_folder).width;
      if (width == architecture.hidden_size) return absl::OkStatus();
      return refused("ADAPTER_DOES_NOT_FIT",
                     "the adapter's virtual tokens have " + std::to_string(width) +
                         " numbers each, the base model's hidden states " + std::to_string(architecture.hidden_size),
                     "import the adapter's own base model first");
    }
    const model::Adapter adapter =
        model::load_adapter(adapter_folder, model::DoraAdapters::kTaken, model::ScoreHeads::kTaken);
    for (const model::AdapterTensor& tensor : adapter.tensors) {
      const auto parts = model::parts_of_module(architecture, tensor.module);
      const bool fits =
          !parts.empty() && parts[0].file_rows == tensor.out_features && parts[0].tensor.shape[1] == tensor.in_features;
      if (fits) continue;
      return refused("ADAPTER_DOES_NOT_FIT",
                     "the adapter's " + tensor.module + " is not in the base model, or has another shape there",
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
