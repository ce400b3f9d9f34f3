#include "agents/engine/train/prepare.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "agents/engine/model/decoder_tensors.h"
#include "agents/engine/train/environment.h"
#include "agents/engine/train/publishing/export.h"
#include "backend/base/error.h"

namespace slipway::train {

namespace {

std::string count_text(int64_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

// An adapter to start from brings its own rank, scale and layers.
void adopt_initial_adapter(const spec::EngineContext& context, const Warn& warn, Job& job) {
  MethodSettings& method = job.settings.method;
  if (method.init_adapter.empty()) return;
  job.initial_adapter = model::load_adapter(context.resolve(method.init_adapter), model::DoraAdapters::kTaken);
  const model::AdapterConfig& config = job.initial_adapter->config;
  std::vector<std::string> modules;
  for (const model::AdapterTensor& tensor : job.initial_adapter->tensors) {
    const std::string name = tensor.module.substr(tensor.module.rfind('.') + 1);
    if (std::find(modules.begin(), modules.end(), name) == modules.end()) modules.push_back(name);
  }
  std::sort(modules.begin(), modules.end());
  std::vector<std::string> asked = method.target_modules;
  std::sort(asked.begin(), asked.end());
  if (config.r != method.r || config.lora_alpha != method.lora_alpha || config.use_rslora != method.use_rslora ||
      config.use_dora > method.use_dora || modules != asked) {
    warn("INIT_ADAPTER_DIFFERS",
         "r, lora_alpha, use_rslora, use_dora and target_modules are those of method.init_adapter (r " +
             std::to_string(config.r) + "), not those of the spec",
         "give the adapter's values in the spec to be rid of this warning");
  }
  method.r = config.r;
  method.lora_alpha = config.lora_alpha;
  method.use_rslora = config.use_rslora;
  method.use_dora = method.use_dora || config.use_dora;  // a plain adapter may go on as DoRA
  method.target_modules = modules;
}

void check_method(const Job& job) {
  const int64_t layers = job.architecture.num_hidden_layers;
  const auto wrong = [&](const std::string& field) {
    throw base::Error(base::kInvalidSpec, field + ": the model has " + count_text(layers, "layer"),
                      "count layers from 0");
  };
  for (const int64_t layer : job.settings.method.layers_to_transform) {
    if (layer >= layers) wrong("method.layers_to_transform names layer " + std::to_string(layer));
  }
  if (job.settings.method.freeze_layers > layers) wrong("method.freeze_layers is too large");
  if (job.settings.adapter_output.empty() && job.settings.method.init_adapter.empty()) return;
  // Adapters name their layers as the family's files do; ours are the decoder's, which some files keep as one.
  for (const std::string& target : job.settings.method.target_modules) {
    const bool in_mlp = target == "gate_proj" || target == "up_proj" || target == "down_proj";
    if (target == "gate_proj" && !job.architecture.gated_mlp) continue;
    const std::string module = std::string("model.layers.0.") + (in_mlp ? "mlp." : "self_attn.") + target;
    if (model::parts_of_module(job.architecture, module).size() == 1) continue;
    throw base::Error(base::kUnsupported,
                      job.architecture.family + " models have no layer " + target + " that an adapter could name",
                      "set output.adapter to \"\" and output.merged to a folder: the merged model holds the same");
  }
}

Dataset load(const spec::EngineContext& context, const Warn& warn, const Job& job,
             const std::vector<DataSource>& sources, const std::string& what) {
  const TrainSettings& settings = job.settings;
  std::vector<DataFile> files;
  for (const DataSource& source : sources)
    files.push_back({context.resolve(source.path), source.format, source.weight});
  Dataset dataset = load_dataset(files, *job.tokenizer,
                                 {settings.max_length,
                                  {settings.assistant_only_loss, settings.completion_only_loss},
                                  settings.seed,
                                  usable_threads(),
                                  job.cache},
                                 context.stop);
  const DatasetStatistics& s = dataset.statistics;
  if (context.stop.load()) return dataset;
  if (s.dropped_rows > 0) {
    warn("ROWS_DROPPED",
         std::to_string(s.dropped_rows) + " of " + count_text(s.rows, what + " row") + " had no trained token within " +
             count_text(settings.max_length, "token"),
         "raise training.max_length, or check that the rows have an answer to learn from");
  }
  if (s.truncated_rows > 0) {
    warn("ROWS_TRUNCATED",
         std::to_string(s.truncated_rows) + " of " + count_text(s.rows, what + " row") + " were cut to " +
             count_text(settings.max_length, "token"),
         "raise training.max_length if their ends matter");
  }
  const ObjectiveType objective = settings.objective.type;
  if (objective == ObjectiveType::kDpo || objective == ObjectiveType::kOrpo) {
    for (const Preference& one : dataset.preferences) {
      if (one.chosen >= 0 && one.rejected >= 0) continue;
      throw base::Error(base::kInvalidData,
                        what + " rows with a label have only one answer, the objective compares two",
                        "use rows with chosen and rejected, or objective kto");
    }
  }
  if (objective == ObjectiveType::kKto) add_mismatched(dataset, settings.batch_size, settings.max_length);
  return dataset;
}

}  // namespace

void load_model(const spec::EngineContext& context, const Warn& warn, Job& job) {
  job.model_path = context.resolve(job.settings.model_path);
  job.architecture = model::load_architecture(job.model_path);
  const int64_t positions = job.architecture.max_position_embeddings;
  if (job.settings.max_length > positions) {
    throw base::Error(base::kInvalidSpec,
                      "training.max_length: " + std::to_string(job.settings.max_length) +
                          " is more than the model's context of " + count_text(positions, "token"),
                      "set training.max_length to at most " + std::to_string(positions));
  }
  check_method(job);
  job.weights = model::open_decoder_weights(job.model_path, job.architecture);
  job.tokenizer = text::load_tokenizer(job.model_path);
  if (!job.settings.gguf_output.empty()) check_gguf(job.architecture, *job.tokenizer);
  adopt_initial_adapter(context, warn, job);
}

void load_data(const spec::EngineContext& context, const Warn& warn, Job& job) {
  const TrainSettings& settings = job.settings;
  job.train = load(context, warn, job, settings.train, "training");
  job.validation = load(context, warn, job, settings.validation, "validation");
  if (context.stop.load()) return;
  if (job.train.epoch.empty()) {
    throw base::Error(
        base::kInvalidData,
        "the training data has no row with a trained token (" + count_text(job.train.statistics.rows, "row") + " read)",
        "check data.train: its format, and that the rows have an answer to learn from");
  }
  if (job.tokenizer->vocab_size() > job.architecture.vocab_size) {
    const int32_t highest = job.train.statistics.highest_token;
    if (highest >= job.architecture.vocab_size) {
      throw base::Error(base::kInvalidModel,
                        "the tokenizer made token " + std::to_string(highest) + ", but the model has only " +
                            std::to_string(job.architecture.vocab_size),
                        "use the tokenizer that belongs to this model");
    }
  }
  job.rows = make_row_set(job.train, settings.packing, settings.max_length);
  job.validation_rows = make_row_set(job.validation, settings.packing, settings.max_length);
  job.plan.emplace(job.rows.count(), settings.batch_size, settings.gradient_accumulation_steps * settings.ranks,
                   settings.shuffle, settings.seed);
  job.total_steps = settings.max_steps > 0
                        ? settings.max_steps
                        : static_cast<int64_t>(
                              std::ceil(settings.num_train_epochs * static_cast<double>(job.plan->steps_per_epoch())));
  if (settings.schedule.type == ScheduleType::kConstant && warmup_steps(settings.schedule, job.total_steps) > 0) {
    warn("WARMUP_IGNORED", "the schedule constant has no warmup", "use lr_scheduler_type constant_with_warmup");
  }
}

Machine choose_machine(Precision precision, int64_t local_rank) {
  at::set_num_threads(usable_threads());
  Machine machine;
  const int64_t gpus = load_cuda();
  if (gpus > 0) machine.device = at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(local_rank % gpus));
  const bool fast = machine.device.is_cuda() || cpu_has_bf16();
  if (precision == Precision::kBF16 || (precision == Precision::kAuto && fast)) machine.compute_type = at::kBFloat16;
  return machine;
}

std::unique_ptr<Decoder> make_decoder(const spec::EngineContext& context, const Job& job, const Machine& machine,
                                      Residence* residence) {
  const TrainSettings& settings = job.settings;
  DecoderOptions options{machine.device, machine.compute_type, settings.gradient_checkpointing};
  options.neftune_alpha = settings.neftune_noise_alpha;
  options.residence = residence;
  auto decoder = std::make_unique<Decoder>(job.architecture, *job.weights, settings.method, options);
  if (settings.method.type != MethodType::kLora) return decoder;
  if (job.initial_adapter) {
    load_adapter_into(*decoder, *job.initial_adapter, context.resolve(settings.method.init_adapter).string());
  } else {
    decoder->initialize_lora(settings.seed);
  }
  return decoder;
}

OptimizerOptions optimizer_options(const TrainSettings& settings) {
  return {settings.optimizer, settings.adam_beta1, settings.adam_beta2, settings.adam_epsilon, settings.weight_decay};
}

}  // namespace slipway::train
