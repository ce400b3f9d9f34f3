#include "agents/engine/quantize/quantize.h"

#include <map>
#include <nlohmann/json.hpp>

#include "agents/engine/kernels/kernels.h"
#include "agents/engine/model/architecture.h"
#include "agents/engine/model/container.h"
#include "agents/engine/model/decoder_tensors.h"
#include "agents/engine/quantize/calibration.h"
#include "agents/engine/runtime/thread_pool.h"
#include "agents/engine/runtime/weight_loader.h"
#include "agents/engine/text/tokenizer.h"
#include "agents/engine/text/training_rows.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::quantize {
namespace {

constexpr int64_t kLeastLength = 2;  // of a row that says anything
constexpr const char* kTokenizerFiles[] = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                                           "chat_template.jinja"};

kernels::WeightFormat format_of(const Settings& settings) {
  if (settings.type == runtime::WeightType::kInt8) return kernels::WeightFormat::kInt8;
  if (settings.type == runtime::WeightType::kInt4) return kernels::WeightFormat::kInt4;
  throw base::Error(base::kInvalidSpec, "dtype is " + runtime::weight_type_name(settings.type),
                    "models are quantised to int8 or int4");
}

// The kind of rows in a JSONL file, by the keys of one of them.
text::RowFormat format_of_rows(const std::string& line, const std::filesystem::path& path) {
  constexpr std::pair<const char*, text::RowFormat> kKeys[] = {{"messages", text::RowFormat::kMessages},
                                                               {"conversations", text::RowFormat::kShareGpt},
                                                               {"completion", text::RowFormat::kPromptCompletion},
                                                               {"instruction", text::RowFormat::kAlpaca},
                                                               {"text", text::RowFormat::kText}};
  const auto row = nlohmann::json::parse(line, nullptr, false);
  for (const auto& [key, format] : kKeys) {
    if (row.is_object() && row.contains(key)) return format;
  }
  throw base::Error(base::kInvalidData, path.string() + ", line 1: no row that is known here",
                    "give rows with text, messages, conversations, prompt and completion, or instruction and output");
}

std::vector<std::vector<int32_t>> read_rows(const Settings& settings, const text::Tokenizer& tokenizer,
                                            int64_t vocabulary) {
  std::vector<std::vector<int32_t>> rows;
  std::optional<text::RowEncoder> encoder;
  int64_t number = 0;
  text::for_each_line(settings.calibration, number, [&](const std::string& line) {
    if (!encoder) encoder.emplace(tokenizer, format_of_rows(line, settings.calibration), text::RowOptions{});
    std::vector<int32_t> ids;
    try {
      ids = encoder->encode(line).ids;
    } catch (const base::Error& error) {
      text::throw_at_line(settings.calibration, number, error.what(), error.advice());
    }
    if (static_cast<int64_t>(ids.size()) > settings.calibration_length)
      ids.resize(static_cast<size_t>(settings.calibration_length));
    for (const int32_t id : ids) {
      if (id >= vocabulary)
        text::throw_at_line(settings.calibration, number, "token " + std::to_string(id) + " is not the model's",
                            "use the tokenizer that belongs to the model");
    }
    if (static_cast<int64_t>(ids.size()) >= kLeastLength) rows.push_back(std::move(ids));
    return static_cast<int64_t>(rows.size()) < settings.calibration_rows;
  });
  if (rows.empty()) {
    throw base::Error(base::kInvalidData, settings.calibration.string() + ": there is no row to calibrate on",
                      "give a JSONL file of some hundred rows like those that the model will see");
  }
  return rows;
}

// config.json and the tokenizer's files, whatever the model came from.
std::map<std::string, std::string> files_of(const model::Architecture& architecture, const text::Tokenizer& tokenizer) {
  const base::TemporaryFolder folder;
  text::save_tokenizer(tokenizer, folder.path());
  std::map<std::string, std::string> files;
  for (const char* name : kTokenizerFiles) {
    if (std::filesystem::exists(folder.path() / name)) files[name] = base::read_file(folder.path() / name);
  }
  files["config.json"] = model::config_from_architecture(architecture, "float32").dump(2) + "\n";
  return files;
}

std::optional<runtime::Module> module_of(model::Role role) {
  constexpr std::pair<model::Role, runtime::Module> kModules[] = {
      {model::Role::kQuery, runtime::Module::kQuery}, {model::Role::kKey, runtime::Module::kKey},
      {model::Role::kValue, runtime::Module::kValue}, {model::Role::kAttentionOutput, runtime::Module::kOutput},
      {model::Role::kGate, runtime::Module::kGate},   {model::Role::kUp, runtime::Module::kUp},
      {model::Role::kDown, runtime::Module::kDown}};
  for (const auto& [known, module] : kModules) {
    if (role == known) return module;
  }
  return std::nullopt;
}

void check(const Settings& settings) {
  if (settings.output.extension() != ".slipway") {
    throw base::Error(base::kInvalidSpec, "the output is " + settings.output.string(),
                      "give a name that ends in .slipway, by which it is known");
  }
  if (!settings.calibration.empty() && settings.type != runtime::WeightType::kInt4) {
    throw base::Error(base::kInvalidSpec, "calibration is for int4",
                      "leave --calibration out: int8 loses next to nothing");
  }
  if (model::is_container(settings.model)) {
    throw base::Error(base::kUnsupported, settings.model.string() + " is quantised already",
                      "give the model that it was made from");
  }
}

}  // namespace

bool quantize(const Settings& settings, const std::function<void(int64_t done, int64_t total)>& on_progress,
              const std::atomic<bool>& stop, Report& report) {
  check(settings);
  const auto format = format_of(settings);
  const model::Architecture architecture = model::load_architecture(settings.model);
  const auto tokenizer = text::load_tokenizer(settings.model);
  runtime::ThreadPool pool(settings.threads);
  const kernels::Table& table = *kernels::table(kernels::best_level());
  const int64_t layers = architecture.num_hidden_layers;

  std::vector<RoundedLayer> rounded;
  if (!settings.calibration.empty()) {
    const auto rows = read_rows(settings, *tokenizer, architecture.vocab_size);
    for (const auto& row : rows) report.calibration_tokens += static_cast<int64_t>(row.size());
    on_progress(0, layers);
    rounded =
        calibrate(settings.model, architecture, {&rows, [&](int64_t done) { on_progress(done, layers); }, &stop}, pool);
    if (static_cast<int64_t>(rounded.size()) < layers) return false;
  }

  model::ContainerContent content;
  content.weights = runtime::weight_type_name(settings.type);
  content.method = rounded.empty() ? "rounded" : "gptq";
  content.source = settings.model.filename().string();
  content.files = files_of(architecture, *tokenizer);
  const auto tensors = model::decoder_tensors(architecture);
  std::map<std::string, runtime::Matrix> matrices;
  std::map<std::string, std::vector<float>> vectors;
  runtime::WeightLoader loader(settings.model, architecture, table);
  for (const model::DecoderTensor& tensor : tensors) {
    const std::string name = tensor.name();
    if (tensor.shape.size() == 1) {
      const auto& values = vectors[name] = loader.vector(name, tensor.shape[0]);
      content.tensors[name] = {"f32", tensor.shape, std::as_bytes(std::span(values))};
      continue;
    }
    const auto module = module_of(tensor.role);
    if (!rounded.empty() && module) {
      matrices[name] = std::move(rounded[static_cast<size_t>(tensor.layer)][static_cast<size_t>(*module)]);
    } else {
      loader.matrix(name, tensor.shape[0], tensor.shape[1], runtime::kept_format(tensor.role, format), matrices[name]);
    }
  }
  loader.load(pool);
  if (stop) return false;
  for (const model::DecoderTensor& tensor : tensors) {
    if (tensor.shape.size() == 1) continue;
    const runtime::Matrix& matrix = matrices[tensor.name()];
    // A matrix of f32 is row-major and ends with its last row.
    const bool f32 = matrix.format() == kernels::WeightFormat::kF32;
    const int64_t bytes = f32 ? matrix.rows() * matrix.columns() * 4 : matrix.panels() * matrix.panel_bytes();
    content.tensors[tensor.name()] = {
        runtime::format_name(matrix.format()), tensor.shape, {matrix.data(), static_cast<size_t>(bytes)}};
  }
  model::write_container(settings.output, content);
  report.parameters = architecture.parameter_count();
  report.bytes = std::filesystem::file_size(settings.output);
  on_progress(layers, layers);
  return true;
}

nlohmann::ordered_json to_json(const Settings& settings, const Report& report) {
  return {{"file", settings.output.string()},
          {"dtype", runtime::weight_type_name(settings.type)},
          {"method", report.calibration_tokens > 0 ? "gptq" : "rounded"},
          {"calibration_tokens", report.calibration_tokens},
          {"parameters", report.parameters},
          {"bytes", report.bytes}};
}

}  // namespace slipway::quantize
