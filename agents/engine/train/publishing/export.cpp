#include "agents/engine/train/publishing/export.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "agents/engine/model/decoder_tensors.h"
#include "agents/engine/model/gguf_export.h"
#include "agents/engine/model/weights.h"
#include "agents/engine/text/gguf_vocabulary.h"
#include "agents/engine/text/tokenizer.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::train {

namespace {

namespace fs = std::filesystem;

constexpr char kSuffixA[] = ".lora_A.weight";
constexpr char kPrefix[] = "base_model.model.";

base::Error file_error(const std::string& what, const fs::filesystem_error& error) {
  return base::system_error(what, error.code().value());
}

// Where an adapted layer's tensors are among the parameters.
struct AdaptedModule {
  size_t a = 0, b = 0;
  std::optional<size_t> magnitude;  // DoRA's
};

// Calls use(module, its tensors) for every adapted layer.
template <typename Use>
void for_each_adapted(const Decoder& decoder, Use use) {
  const std::vector<Parameter>& list = decoder.parameters().list();
  std::map<std::string, size_t> index_of;
  for (size_t i = 0; i < list.size(); ++i) index_of[list[i].name] = i;
  for (size_t i = 0; i < list.size(); ++i) {
    if (!list[i].name.ends_with(kSuffixA)) continue;
    const std::string module =
        list[i].name.substr(sizeof kPrefix - 1, list[i].name.size() - sizeof kPrefix + 1 - (sizeof kSuffixA - 1));
    AdaptedModule tensors{i, index_of.at(lora_tensor_name(module, 'B')), std::nullopt};
    if (const auto found = index_of.find(magnitude_name(module)); found != index_of.end()) {
      tensors.magnitude = found->second;
    }
    use(module, tensors);
  }
}

// Where the rows of the decoder's B, part after part, lie in a layer of the family's files: [out] of int64.
at::Tensor rows_in_file(const model::Architecture& architecture, const std::string& module) {
  std::vector<int64_t> rows;
  for (const model::ModulePart& part : model::parts_of_module(architecture, module)) {
    rows.insert(rows.end(), part.rows.begin(), part.rows.end());
  }
  return at::tensor(rows, at::kLong);
}

std::vector<float> copy_out(const at::Tensor& tensor) {
  const at::Tensor values = tensor.to(at::kCPU).contiguous();
  return {values.data_ptr<float>(), values.data_ptr<float>() + values.numel()};
}

at::ScalarType scalar_type(model::DType type) {
  return type == model::DType::kBF16 ? at::kBFloat16 : type == model::DType::kF16 ? at::kHalf : at::kFloat;
}

std::string generation_config(const model::Architecture& architecture) {
  nlohmann::ordered_json config{{"_from_model_config", true}};
  if (architecture.bos_token_id >= 0) config["bos_token_id"] = architecture.bos_token_id;
  if (architecture.eos_token_ids.size() == 1) {
    config["eos_token_id"] = architecture.eos_token_ids.front();
  } else if (!architecture.eos_token_ids.empty()) {
    config["eos_token_id"] = architecture.eos_token_ids;
  }
  if (architecture.pad_token_id >= 0) config["pad_token_id"] = architecture.pad_token_id;
  return config.dump(2) + "\n";
}

// A causal model's config as that of a sequence classifier with one label.
void make_classifier(nlohmann::ordered_json& config, int32_t padding_token) {
  if (const auto names = config.find("architectures"); names != config.end() && names->is_array() && !names->empty()) {
    std::string name = names->front().get<std::string>();
    for (const char* ending : {"ForCausalLM", "LMHeadModel"}) {
      if (name.ends_with(ending)) name.resize(name.size() - std::string_view(ending).size());
    }
    if (name == "Gemma3") name += "Text";
    *names = {name + "ForSequenceClassification"};
  }
  config["id2label"] = {{"0", "LABEL_0"}};
  config["label2id"] = {{"LABEL_0", 0}};
  config["pad_token_id"] = padding_token < 0 ? nlohmann::ordered_json() : nlohmann::ordered_json(padding_token);
}

model::GgufWriter gguf_of(const model::Architecture& architecture, const text::Tokenizer& tokenizer,
                          const model::ReadTensor& read, model::DType matrices) {
  model::GgufWriter writer;
  model::put_model(writer, architecture, matrices, read);
  text::put_vocabulary(writer, tokenizer, architecture.vocab_size, architecture.eos_token_ids);
  return writer;
}

}  // namespace

model::Adapter adapter_of(const Decoder& decoder, const MethodSettings& method, const std::string& base_model) {
  model::Adapter adapter;
  adapter.config.r = method.r;
  adapter.config.lora_alpha = method.lora_alpha;
  adapter.config.lora_dropout = method.lora_dropout;
  adapter.config.use_rslora = method.use_rslora;
  adapter.config.target_modules = method.target_modules;
  adapter.config.layers_to_transform = method.layers_to_transform;
  adapter.config.base_model_name_or_path = base_model;
  const Parameters& parameters = decoder.parameters();
  adapter.config.use_dora = method.use_dora;
  const std::vector<model::AdapterModule> modules = model::adapter_modules(decoder.architecture());
  adapter.config.fan_in_fan_out = modules.front().transposed;
  for_each_adapted(decoder, [&](const std::string& module, const AdaptedModule& at) {
    const auto [rank, alpha] = method.shape_of(module);
    const at::Tensor rows = rows_in_file(decoder.architecture(), module);
    const auto in_file = [&](size_t index) {
      const at::Tensor values = parameters.value(index).to(at::kCPU);
      return at::empty_like(values).index_copy_(0, rows, values);
    };
    adapter.tensors.push_back({module, rank, parameters.list()[at.a].shape[1], parameters.list()[at.b].shape[0],
                               copy_out(parameters.value(at.a).narrow(0, 0, rank)),
                               copy_out(in_file(at.b).narrow(1, 0, rank)),
                               at.magnitude ? copy_out(in_file(*at.magnitude)) : std::vector<float>(), alpha});
  });
  if (const auto score = decoder.score_parameter()) adapter.score = copy_out(parameters.value(*score));
  return adapter;
}

namespace {

// Calls use(index of the parameter, its values in the adapter) for each tensor of virtual tokens.
template <typename Adapter, typename Use>
void for_each_prompt_tensor(const Decoder& decoder, Adapter& adapter, Use use) {
  const std::vector<Parameter>& list = decoder.parameters().list();
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i].name == model::kPromptEmbeddings) use(i, adapter.embeddings);
    if (list[i].name == model::kPromptTaskColumns) use(i, adapter.task_columns);
    if (list[i].name == model::kPromptTaskRows) use(i, adapter.task_rows);
  }
}

}  // namespace

model::PromptAdapter prompt_adapter_of(const Decoder& decoder, const PromptSettings& prompt,
                                       const std::string& base_model) {
  const model::Architecture& architecture = decoder.architecture();
  model::PromptAdapter adapter;
  adapter.virtual_tokens = prompt.num_virtual_tokens;
  adapter.width = architecture.hidden_size;
  adapter.tasks = prompt.num_tasks;
  adapter.ranks = prompt.num_ranks;
  adapter.attention_heads = architecture.num_attention_heads;
  adapter.layers = architecture.num_hidden_layers;
  adapter.base_model_name_or_path = base_model;
  for_each_prompt_tensor(decoder, adapter, [&](size_t index, std::vector<float>& values) {
    values = copy_out(decoder.parameters().value(index));
  });
  return adapter;
}

void load_prompt_into(Decoder& decoder, const model::PromptAdapter& adapter) {
  for_each_prompt_tensor(decoder, adapter, [&](size_t index, const std::vector<float>& values) {
    const at::Tensor copy = at::empty(decoder.parameters().list()[index].shape, at::kFloat);
    std::copy(values.begin(), values.end(), copy.data_ptr<float>());
    decoder.set_master(index, copy);
  });
  decoder.refresh();
}

void load_adapter_into(Decoder& decoder, const model::Adapter& adapter, const std::string& origin) {
  std::map<std::string, const model::AdapterTensor*> by_module;
  for (const model::AdapterTensor& tensor : adapter.tensors) by_module[tensor.module] = &tensor;
  const Parameters& parameters = decoder.parameters();
  size_t used = 0;
  bool fresh_magnitudes = false;
  for_each_adapted(decoder, [&](const std::string& module, const AdaptedModule& at) {
    const auto [a, b] = std::pair(at.a, at.b);
    const auto found = by_module.find(module);
    if (found == by_module.end()) {
      throw base::Error(base::kInvalidModel, origin + ": the adapter has no tensors for " + module,
                        "use an adapter of this base model");
    }
    const model::AdapterTensor& tensor = *found->second;
    const std::vector<int64_t>&shape_a = parameters.list()[a].shape, &shape_b = parameters.list()[b].shape;
    if (tensor.rank > shape_a[0] || tensor.in_features != shape_a[1] || tensor.out_features != shape_b[0]) {
      throw base::Error(base::kInvalidModel, origin + ": the adapter's tensors for " + module + " have other shapes",
                        "use an adapter of this base model");
    }
    const at::Tensor rows = rows_in_file(decoder.architecture(), module);
    const auto tensor_of = [](const std::vector<float>& values, at::IntArrayRef shape) {
      const at::Tensor copy = at::empty(shape, at::kFloat);
      std::copy(values.begin(), values.end(), copy.data_ptr<float>());
      return copy;
    };
    // One of a lower rank than the others is filled up with zeros, which have no gradient.
    const int64_t missing = shape_a[0] - tensor.rank;
    decoder.set_master(a,
                       at::constant_pad_nd(tensor_of(tensor.a, {tensor.rank, tensor.in_features}), {0, 0, 0, missing}));
    decoder.set_master(
        b, at::constant_pad_nd(tensor_of(tensor.b, {tensor.out_features, tensor.rank}).index_select(0, rows),
                               {0, missing}));
    if (at.magnitude && !tensor.magnitude.empty()) {
      decoder.set_master(*at.magnitude, tensor_of(tensor.magnitude, {tensor.out_features}).index_select(0, rows));
    } else if (at.magnitude) {
      fresh_magnitudes = true;  // a plain adapter that goes on as DoRA
    }
    ++used;
  });
  if (used != adapter.tensors.size()) {
    throw base::Error(base::kInvalidModel,
                      origin + ": the adapter has tensors for layers that this model does not have",
                      "use an adapter of this base model");
  }
  if (fresh_magnitudes) decoder.initialize_magnitudes();
  decoder.refresh();
}

model::DType stored_type(const model::Weights& base) {
  const model::DType type = base.get("model.layers.0.self_attn.q_proj.weight").dtype;
  return type == model::DType::kBF16 || type == model::DType::kF16 ? type : model::DType::kF32;
}

model::ReadTensor trained_tensors(const Decoder& decoder, const MethodSettings& method, const model::Weights& base) {
  const Parameters& parameters = decoder.parameters();
  struct Change {
    AdaptedModule at;
    double scaling = 0;
    int64_t first_row = 0;  // of B
  };
  std::map<std::string, Change> adapted;  // by the tensor they change
  std::map<std::string, size_t> trained;
  if (method.type == MethodType::kFull) {
    for (size_t i = 0; i < parameters.list().size(); ++i) trained[parameters.list()[i].name] = i;
  } else {
    for_each_adapted(decoder, [&](const std::string& module, const AdaptedModule& at) {
      int64_t row = 0;
      for (const model::ModulePart& part : model::parts_of_module(decoder.architecture(), module)) {
        adapted[part.tensor.name()] = {at, method.scaling(module), row};
        row += part.tensor.shape[0];
      }
    });
  }
  return
      [&, adapted = std::move(adapted), trained = std::move(trained)](const std::string& name, std::span<float> out) {
        at::Tensor values = at::empty({static_cast<int64_t>(out.size())}, at::kFloat);
        if (const auto it = trained.find(name); it != trained.end()) {
          values.copy_(parameters.value(it->second).view({-1}));
        } else {
          base.read_f32(name, {values.data_ptr<float>(), out.size()});
          if (const auto delta = adapted.find(name); delta != adapted.end()) {
            const auto& [at, scaling, first_row] = delta->second;
            const at::Tensor a = parameters.value(at.a).to(at::kCPU);
            at::Tensor whole = values.view({-1, a.size(1)});
            const auto of_part = [&, first = first_row](size_t index) {
              return parameters.value(index).to(at::kCPU).narrow(0, first, whole.size(0));
            };
            whole.addmm_(of_part(at.b), a, 1.0, scaling);
            if (at.magnitude) {
              const at::Tensor norms = at::linalg_vector_norm(whole, 2, at::IntArrayRef{1});
              whole.mul_((of_part(*at.magnitude) / norms).unsqueeze(1));
            }
          }
        }
        std::copy_n(values.data_ptr<float>(), out.size(), out.begin());
      };
}

model::DType write_merged_model(const fs::path& folder, const Decoder& decoder, const MethodSettings& method,
                                const model::Weights& base, const fs::path& base_path, const text::Tokenizer& tokenizer,
                                int32_t padding_token) {
  try {
    fs::remove_all(folder);
    fs::create_directories(folder);
  } catch (const fs::filesystem_error& error) {
    throw file_error("cannot make the folder " + folder.string(), error);
  }
  const model::DType type = stored_type(base);
  const model::ReadTensor read = trained_tensors(decoder, method, base);
  std::vector<at::Tensor> kept;
  std::vector<model::TensorView> views;
  const auto add = [&](const std::string& name, const at::Tensor& values) {
    at::Tensor typed = values.to(scalar_type(type), false, true);
    const auto* bytes = static_cast<const std::byte*>(typed.data_ptr());
    views.push_back({name, type, values.sizes().vec(), {bytes, typed.nbytes()}});
    kept.push_back(std::move(typed));
  };
  const std::optional<size_t> score = decoder.score_parameter();
  model::Architecture stored = decoder.architecture();
  stored.tie_word_embeddings = stored.tie_word_embeddings || score;  // then there is no output projection
  for (const model::FileTensor& tensor : model::file_tensors(stored, model::FileLayout::kHuggingFace)) {
    std::vector<float> elements = model::file_values(tensor, read);
    add(tensor.name, at::from_blob(elements.data(), tensor.shape, at::kFloat));
  }
  if (score) add("score.weight", decoder.parameters().value(*score).to(at::kCPU));
  std::sort(views.begin(), views.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  model::write_safetensors(folder / "model.safetensors", views);
  text::save_tokenizer(tokenizer, folder, decoder.architecture().max_position_embeddings);
  std::error_code failure;
  const fs::path generation = base_path / "generation_config.json";
  base::write_file_atomically(folder / "generation_config.json", fs::is_regular_file(generation, failure)
                                                                     ? base::read_file(generation, 1U << 20U)
                                                                     : generation_config(decoder.architecture()));
  const char* const torch_type = type == model::DType::kBF16  ? "bfloat16"
                                 : type == model::DType::kF16 ? "float16"
                                                              : "float32";
  nlohmann::ordered_json config = model::config_from_architecture(decoder.architecture(), torch_type);
  if (score) make_classifier(config, padding_token);
  base::write_file_atomically(folder / "config.json", config.dump(2) + "\n");
  return type;
}

void write_gguf(const fs::path& path, const model::Architecture& architecture, const text::Tokenizer& tokenizer,
                const model::ReadTensor& read, model::DType matrices) {
  gguf_of(architecture, tokenizer, read, matrices).write(path);
  model::require_same_decoder(architecture, model::load_architecture(path));
}

void check_gguf(const model::Architecture& architecture, const text::Tokenizer& tokenizer) {
  const base::TemporaryFolder folder;
  const fs::path layout = folder.path() / "model.gguf";
  const auto zeros = [](const std::string&, std::span<float> values) { std::fill(values.begin(), values.end(), 0.0F); };
  gguf_of(architecture, tokenizer, zeros, model::DType::kF16).write_layout(layout);
  model::require_same_decoder(architecture, model::load_architecture(layout));
}

void replace(const fs::path& target, const fs::path& finished) {
  try {
    base::sync_path(finished);
    fs::remove_all(target);
    fs::rename(finished, target);
    base::sync_path(target.parent_path());
  } catch (const fs::filesystem_error& error) {
    throw file_error("cannot write " + target.string(), error);
  }
}

}  // namespace slipway::train
