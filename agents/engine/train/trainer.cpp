#include "agents/engine/train/trainer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/CachingDeviceAllocator.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "agents/engine/model/adapter.h"
#include "agents/engine/model/architecture.h"
#include "agents/engine/model/decoder_tensors.h"
#include "agents/engine/text/tokenizer.h"
#include "agents/engine/train/checkpoint.h"
#include "agents/engine/train/dataset.h"
#include "agents/engine/train/decoder.h"
#include "agents/engine/train/environment.h"
#include "agents/engine/train/export.h"
#include "agents/engine/train/history.h"
#include "agents/engine/train/packing.h"
#include "agents/engine/train/parity.h"
#include "agents/engine/train/random.h"
#include "agents/engine/train/settings.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::train {

namespace {

namespace fs = std::filesystem;
using SteadyClock = std::chrono::steady_clock;

double seconds_since(SteadyClock::time_point begin) {
  return std::chrono::duration<double>(SteadyClock::now() - begin).count();
}

std::string count_text(int64_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

// One run of the engine: members in the order in which they are made ready.
class Trainer {
 public:
  explicit Trainer(spec::EngineContext& context);
  int run();

 private:
  void warn(const std::string& code, const std::string& message, const std::string& advice);
  void check_outputs() const;
  Dataset load(const std::vector<DataSource>& sources, const std::string& what);
  void adopt_initial_adapter();
  void make_decoder();
  void resume();
  bool train_step();
  void report_step(double loss, double learning_rate, double gradient_norm);
  void report_progress();
  bool evaluate();
  void save();
  std::string save_error_context() const;
  int stop();
  void publish();
  bool stopping() const { return context_.stop.load(); }
  int64_t peak_memory() const;
  std::string parameter_file() const {
    return settings_.method.type == MethodType::kLora ? "adapter_model.safetensors" : "model.safetensors";
  }

  spec::EngineContext& context_;
  TrainSettings settings_;
  RunHistory history_;
  CheckpointStore checkpoints_;
  std::optional<LoadedCheckpoint> checkpoint_;  // the one to go on from, until it is read

  fs::path model_path_;
  model::Architecture architecture_;
  std::unique_ptr<const model::Weights> weights_;
  std::unique_ptr<const text::Tokenizer> tokenizer_;
  std::optional<model::Adapter> initial_adapter_;
  Dataset train_, validation_;
  std::string data_fingerprint_;
  std::vector<Row> rows_, validation_rows_;
  std::optional<StepPlan> plan_;
  std::optional<Decoder> decoder_;
  at::Device device_ = at::kCPU;
  at::ScalarType compute_type_ = at::kFloat;

  int64_t total_steps_ = 0, warmup_steps_ = 0;
  // What a checkpoint holds beside the tensors.
  int64_t step_ = 0;  // steps done
  int64_t tokens_ = 0, trained_tokens_ = 0;
  int64_t interval_steps_ = 0;  // since the last metric
  double interval_loss_ = 0;

  int64_t saved_step_ = 0;
  int64_t steps_here_ = 0, interval_tokens_ = 0;  // by this process
  double seconds_here_ = 0, interval_seconds_ = 0;
  SteadyClock::time_point last_sign_ = SteadyClock::now();
};

Trainer::Trainer(spec::EngineContext& context)
    : context_(context),
      settings_(settings_from_spec(context.spec)),
      history_(RunHistory::read(context.workdir)),
      checkpoints_(context.workdir / "checkpoints", settings_.save_total_limit,
                   [this](const std::string& message) {
                     warn("DAMAGED_CHECKPOINT", message, "training goes on from the one before; check the disk");
                   }),
      model_path_(context.resolve(settings_.model_path)) {}

void Trainer::warn(const std::string& code, const std::string& message, const std::string& advice) {
  if (!history_.warnings.insert(code + " " + message).second) return;
  context_.events.warning(code, message, advice);
}

// Finds out before the training, not after it, that a result could not be written.
void Trainer::check_outputs() const {
  for (const std::string& output : {settings_.adapter_output, settings_.merged_output}) {
    if (output.empty()) continue;
    const fs::path parent = context_.resolve(output + "/.").parent_path().parent_path();
    std::error_code failure;
    fs::create_directories(parent, failure);
    if (failure) throw base::system_error("cannot make the output folder " + parent.string(), failure.value());
    const base::TemporaryFolder probe(parent);
  }
}

Dataset Trainer::load(const std::vector<DataSource>& sources, const std::string& what) {
  std::vector<DataFile> files;
  for (const DataSource& source : sources) files.push_back({context_.resolve(source.path), source.format});
  Dataset dataset = load_dataset(files, *tokenizer_,
                                 {settings_.max_length, settings_.assistant_only_loss, settings_.completion_only_loss},
                                 context_.stop);
  const DatasetStatistics& s = dataset.statistics;
  if (stopping()) return dataset;
  if (s.dropped_rows > 0) {
    warn("ROWS_DROPPED",
         std::to_string(s.dropped_rows) + " of " + count_text(s.rows, what + " row") + " had no trained token within " +
             count_text(settings_.max_length, "token"),
         "raise training.max_length, or check that the rows have an answer to learn from");
  }
  if (s.truncated_rows > 0) {
    warn("ROWS_TRUNCATED",
         std::to_string(s.truncated_rows) + " of " + count_text(s.rows, what + " row") + " were cut to " +
             count_text(settings_.max_length, "token"),
         "raise training.max_length if their ends matter");
  }
  return dataset;
}

// An adapter to start from brings its own rank, scale and layers.
void Trainer::adopt_initial_adapter() {
  MethodSettings& method = settings_.method;
  if (method.init_adapter.empty()) return;
  initial_adapter_ = model::load_adapter(context_.resolve(method.init_adapter));
  const model::AdapterConfig& config = initial_adapter_->config;
  std::vector<std::string> modules;
  for (const model::AdapterTensor& tensor : initial_adapter_->tensors) {
    const std::string name = tensor.module.substr(tensor.module.rfind('.') + 1);
    if (std::find(modules.begin(), modules.end(), name) == modules.end()) modules.push_back(name);
  }
  std::sort(modules.begin(), modules.end());
  std::vector<std::string> asked = method.target_modules;
  std::sort(asked.begin(), asked.end());
  if (config.r != method.r || config.lora_alpha != method.lora_alpha || config.use_rslora != method.use_rslora ||
      modules != asked) {
    warn("INIT_ADAPTER_DIFFERS",
         "r, lora_alpha, use_rslora and target_modules are those of method.init_adapter (r " +
             std::to_string(config.r) + "), not those of the spec",
         "give the adapter's values in the spec to be rid of this warning");
  }
  method.r = config.r;
  method.lora_alpha = config.lora_alpha;
  method.use_rslora = config.use_rslora;
  method.target_modules = modules;
}

void Trainer::make_decoder() {
  at::set_num_threads(usable_threads());
  device_ = load_cuda() ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  switch (settings_.precision) {
    case Precision::kF32:
      compute_type_ = at::kFloat;
      break;
    case Precision::kBF16:
      compute_type_ = at::kBFloat16;
      break;
    case Precision::kAuto:
      compute_type_ = device_.is_cuda() || cpu_has_bf16() ? at::kBFloat16 : at::kFloat;
      break;
  }
  if (checkpoint_ && settings_.precision == Precision::kAuto) {
    // Whatever this machine would choose, the run stays what it was.
    compute_type_ = checkpoint_->state.value("precision", "f32") == "bf16" ? at::kBFloat16 : at::kFloat;
  }
  decoder_.emplace(architecture_, *weights_, settings_.method,
                   DecoderOptions{device_, compute_type_, settings_.gradient_checkpointing});
  if (settings_.method.type == MethodType::kLora && !checkpoint_) {
    if (initial_adapter_) {
      load_adapter_into(*decoder_, *initial_adapter_, context_.resolve(settings_.method.init_adapter).string());
    } else {
      decoder_->initialize_lora(settings_.seed);
    }
  }
}

void Trainer::resume() {
  if (!checkpoint_) return;
  const nlohmann::json& state = checkpoint_->state;
  if (state.at("data_fingerprint") != data_fingerprint_) {
    throw base::Error(
        base::kInvalidData,
        "the training data is not what step-" + std::to_string(checkpoint_->step) + " in this workdir was trained on",
        "put the former data back, or start in a new workdir");
  }
  Parameters& parameters = decoder_->parameters();
  const auto fill = [&](const model::Weights& weights, const std::string& name, const Parameter& p,
                        const at::Tensor& flat) {
    at::Tensor values = at::empty({p.size}, at::kFloat);
    if (weights.get(name).elements() != p.size) {
      throw base::Error(base::kInvalidModel, "the checkpoint's tensor " + name + " does not fit this model",
                        "start in a new workdir");
    }
    weights.read_f32(name, {values.data_ptr<float>(), static_cast<size_t>(p.size)});
    flat.narrow(0, p.offset, p.size).copy_(values);
  };
  for (const Parameter& p : parameters.list()) {
    fill(*checkpoint_->parameters, p.name, p, parameters.values);
    fill(*checkpoint_->optimizer, "exp_avg." + p.name, p, parameters.exp_avg);
    fill(*checkpoint_->optimizer, "exp_avg_sq." + p.name, p, parameters.exp_avg_sq);
  }
  decoder_->refresh();
  step_ = saved_step_ = checkpoint_->step;
  tokens_ = state.at("tokens").get<int64_t>();
  trained_tokens_ = state.at("trained_tokens").get<int64_t>();
  interval_steps_ = state.at("interval").at("steps").get<int64_t>();
  interval_loss_ = state.at("interval").at("loss").get<double>();
  // A crash between COMMIT and its event.
  if (!history_.checkpoints.contains(step_)) {
    context_.events.checkpoint(step_, "checkpoints/step-" + std::to_string(step_), checkpoint_->sha256);
    history_.checkpoints[step_] = checkpoint_->sha256;
  }
  checkpoint_.reset();
}

int64_t Trainer::peak_memory() const {
  if (device_.is_cuda()) {
    if (auto* allocator = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(at::kCUDA)); allocator != nullptr) {
      return allocator->getDeviceStats(device_.index()).allocated_bytes[0].peak;
    }
  }
  return peak_resident_bytes();
}

// One optimizer step. False when a stop came first: then nothing has changed.
bool Trainer::train_step() {
  const auto begin = SteadyClock::now();
  std::vector<Batch> batches;
  int64_t targets = 0, tokens = 0;
  for (const std::vector<int64_t>& micro_batch : plan_->micro_batches(step_)) {
    std::vector<Row> rows;
    for (const int64_t row : micro_batch) rows.push_back(rows_[static_cast<size_t>(row)]);
    batches.push_back(make_batch(train_.documents, rows));
    targets += static_cast<int64_t>(batches.back().targets.size());
    tokens += static_cast<int64_t>(batches.back().tokens.size());
  }
  Parameters& parameters = decoder_->parameters();
  parameters.gradients.zero_();
  double loss = 0;
  for (size_t i = 0; i < batches.size(); ++i) {
    if (stopping()) return false;
    if (seconds_since(last_sign_) > 5) {
      context_.events.heartbeat(step_);
      last_sign_ = SteadyClock::now();
    }
    const uint64_t dropout_seed =
        settings_.method.lora_dropout > 0
            ? mix_seed(mix_seed(settings_.seed, "dropout", static_cast<uint64_t>(step_)), "micro batch", i) | 1U
            : 0;
    // Weighted by tokens, so that the accumulated gradient is that of one large batch.
    loss += decoder_->train(batches[i], 1.0 / static_cast<double>(targets), dropout_seed).loss;
  }
  loss /= static_cast<double>(targets);
  const double learning_rate =
      settings_.learning_rate * schedule_factor(settings_.schedule, step_, warmup_steps_, total_steps_);
  const double gradient_norm = clip_gradients(parameters, settings_.max_grad_norm);
  if (!std::isfinite(loss) || !std::isfinite(gradient_norm)) {
    throw base::Error(
        "NAN_LOSS",
        "step " + std::to_string(step_ + 1) + ": the " + (std::isfinite(loss) ? "gradient" : "loss") +
            " is no longer a finite number" + save_error_context(),
        "lower training.learning_rate, add warmup_steps, keep max_grad_norm at 1.0, or use precision f32; "
        "then start in a new workdir");
  }
  if (gradient_norm == 0 && settings_.learning_rate > 0) {
    warn("ZERO_GRADIENT", "the gradient is exactly zero, so nothing is learnt",
         "check that the data has trained tokens and that the adapter is not all zeros");
  }
  adamw_step(
      parameters,
      {learning_rate, settings_.adam_beta1, settings_.adam_beta2, settings_.adam_epsilon, settings_.weight_decay},
      step_ + 1);
  decoder_->refresh();

  ++step_;
  tokens_ += tokens;
  trained_tokens_ += targets;
  const double seconds = seconds_since(begin);
  ++steps_here_;
  seconds_here_ += seconds;
  interval_tokens_ += tokens;
  interval_seconds_ += seconds;
  ++interval_steps_;
  interval_loss_ += loss;
  report_step(loss, learning_rate, gradient_norm);
  return true;
}

void Trainer::report_progress() {
  if (step_ <= history_.last_progress) return;
  const double per_step = seconds_here_ / static_cast<double>(std::max<int64_t>(1, steps_here_));
  context_.events.progress("train", step_, total_steps_, "step", per_step * static_cast<double>(total_steps_ - step_));
  last_sign_ = SteadyClock::now();
}

void Trainer::report_step(double, double learning_rate, double gradient_norm) {
  const bool logged = step_ % settings_.logging_steps == 0 || step_ == total_steps_;
  if (logged || seconds_since(last_sign_) > 2) report_progress();
  if (!logged) return;
  if (step_ > history_.last_train_step) {
    const double rate = interval_seconds_ > 0 ? static_cast<double>(interval_tokens_) / interval_seconds_ : 0;
    context_.events.metric(step_,
                           {{"loss", interval_loss_ / static_cast<double>(interval_steps_)},
                            {"learning_rate", learning_rate},
                            {"grad_norm", gradient_norm},
                            {"epoch", static_cast<double>(step_) / static_cast<double>(plan_->steps_per_epoch())},
                            {"tokens_per_second", rate},
                            {"tokens", tokens_},
                            {"trained_tokens", trained_tokens_},
                            {"peak_memory_bytes", peak_memory()}});
  }
  interval_steps_ = interval_tokens_ = 0;
  interval_loss_ = interval_seconds_ = 0;
}

// Loss on the validation set. False when a stop came first.
bool Trainer::evaluate() {
  if (step_ <= history_.last_eval_step) return true;
  LossSum sum;
  for (size_t i = 0; i < validation_rows_.size(); i += static_cast<size_t>(settings_.batch_size)) {
    if (stopping()) return false;
    if (seconds_since(last_sign_) > 5) {
      context_.events.heartbeat(step_);
      last_sign_ = SteadyClock::now();
    }
    const size_t count = std::min(static_cast<size_t>(settings_.batch_size), validation_rows_.size() - i);
    const LossSum part =
        decoder_->evaluate(make_batch(validation_.documents, std::span(validation_rows_).subspan(i, count)));
    sum.loss += part.loss;
    sum.tokens += part.tokens;
  }
  const double loss = sum.loss / static_cast<double>(sum.tokens);
  context_.events.metric(step_, {{"eval_loss", loss}, {"eval_perplexity", std::exp(loss)}});
  history_.last_eval_step = step_;
  return true;
}

std::string Trainer::save_error_context() const {
  const std::vector<int64_t> kept = checkpoints_.committed_steps();
  return kept.empty() ? "; no checkpoint has been saved yet"
                      : "; the last good checkpoint is checkpoints/step-" + std::to_string(kept.back());
}

void Trainer::save() {
  if (saved_step_ == step_) return;
  const Parameters& parameters = decoder_->parameters();
  const at::Tensor values = parameters.values.to(at::kCPU), exp_avg = parameters.exp_avg.to(at::kCPU),
                   exp_avg_sq = parameters.exp_avg_sq.to(at::kCPU);
  CheckpointContent content;
  content.step = step_;
  content.parameter_file = parameter_file();
  for (const Parameter& p : parameters.list()) {
    const auto part = [&](const at::Tensor& flat) {
      return std::span<const float>(flat.data_ptr<float>() + p.offset, static_cast<size_t>(p.size));
    };
    content.parameters.push_back({p.name, p.shape, part(values)});
    content.optimizer.push_back({"exp_avg." + p.name, p.shape, part(exp_avg)});
    content.optimizer.push_back({"exp_avg_sq." + p.name, p.shape, part(exp_avg_sq)});
  }
  const int64_t per_epoch = plan_->steps_per_epoch();
  content.state = {
      {"version", 1},
      {"step", step_},
      {"total_steps", total_steps_},
      {"data_position", {{"epoch", step_ / per_epoch}, {"step_in_epoch", step_ % per_epoch}}},
      {"random", {{"generator", "splitmix64 of (seed, purpose, index)"}, {"seed", settings_.seed}}},
      {"tokens", tokens_},
      {"trained_tokens", trained_tokens_},
      {"interval", {{"steps", interval_steps_}, {"loss", interval_loss_}}},
      {"precision", compute_type_ == at::kBFloat16 ? "bf16" : "f32"},
      {"tokenizer_fingerprint", tokenizer_->fingerprint()},
      {"data_fingerprint", data_fingerprint_},
      {"spec_fingerprint", settings_.fingerprint},
  };
  std::string sha256;
  try {
    sha256 = checkpoints_.save(content);
  } catch (const base::Error& error) {
    throw base::Error(error.code(), error.what() + save_error_context(),
                      error.advice().empty()
                          ? "make room or choose another workdir, then start again: training goes on "
                            "from the last good checkpoint"
                          : error.advice());
  }
  saved_step_ = step_;
  if (const auto said = history_.checkpoints.find(step_);
      said == history_.checkpoints.end() || said->second != sha256) {
    context_.events.checkpoint(step_, "checkpoints/step-" + std::to_string(step_), sha256);
    history_.checkpoints[step_] = sha256;
  }
}

int Trainer::stop() {
  if (step_ > 0) save();
  return spec::kExitStopped;
}

void Trainer::publish() {
  context_.events.phase("export", "begin");
  struct Result {
    std::string name, output;
    fs::path writing, target;
  };
  std::vector<Result> results;
  results.reserve(2);
  const auto add = [&](const std::string& name, const std::string& output) -> const fs::path& {
    const fs::path target = context_.resolve(output + "/.").parent_path();
    results.push_back({name, output, target.parent_path() / ("." + target.filename().string() + ".writing"), target});
    return results.back().writing;
  };
  const std::vector<std::vector<int64_t>> prompts = parity_prompts(train_.documents, 3, 64);
  // What was trained in bf16 is compared in f32, so that the comparison can be strict.
  std::optional<Decoder> exact;
  if (compute_type_ != at::kFloat || !device_.is_cpu()) {
    exact.emplace(architecture_, *weights_, settings_.method, DecoderOptions{at::kCPU, at::kFloat, false, false});
    exact->copy_parameters(*decoder_);
  }
  Decoder& trained = exact ? *exact : *decoder_;
  if (!settings_.adapter_output.empty()) {
    const fs::path& writing = add("adapter", settings_.adapter_output);
    std::error_code ignored;
    fs::remove_all(writing, ignored);
    model::save_adapter(writing, adapter_of(*decoder_, settings_.method, settings_.model_path));
    // Serving refuses the adapter beside a base with another tokenizer.
    const nlohmann::json note = {{"tokenizer_fingerprint", tokenizer_->fingerprint()}};
    base::write_file_atomically(writing / "slipway.json", note.dump(2) + "\n");
    require_parity(logit_difference(trained, prompts, model_path_, writing, usable_threads()), false, "the adapter");
  }
  if (!settings_.merged_output.empty()) {
    const fs::path& writing = add("merged", settings_.merged_output);
    const model::DType stored =
        write_merged_model(writing, *decoder_, settings_.method, *weights_, model_path_, *tokenizer_);
    require_parity(logit_difference(trained, prompts, writing, {}, usable_threads()), stored != model::DType::kF32,
                   "the merged model");
  }
  for (const Result& result : results) {
    publish_folder(result.writing, result.target);
    if (history_.artifacts.insert(result.name).second) context_.events.artifact(result.name, result.output);
  }
  context_.events.phase("export", "end");
}

int Trainer::run() {
  check_outputs();
  context_.events.phase("load", "begin");
  checkpoint_ = checkpoints_.load_latest(parameter_file());
  if (checkpoint_ && checkpoint_->state.value("spec_fingerprint", "") != settings_.fingerprint) {
    throw base::Error(
        base::kInvalidSpec,
        "the spec is not the one with which step-" + std::to_string(checkpoint_->step) + " in this workdir was trained",
        "use the former spec to go on, or a new workdir for the new one");
  }
  architecture_ = model::load_architecture(model_path_);
  if (settings_.max_length > architecture_.max_position_embeddings) {
    throw base::Error(base::kInvalidSpec,
                      "training.max_length: " + std::to_string(settings_.max_length) +
                          " is more than the model's context of " +
                          count_text(architecture_.max_position_embeddings, "token"),
                      "set training.max_length to at most " + std::to_string(architecture_.max_position_embeddings));
  }
  weights_ = model::open_decoder_weights(model_path_, architecture_);
  tokenizer_ = text::load_tokenizer(model_path_);
  adopt_initial_adapter();
  context_.events.phase("load", "end");

  context_.events.phase("tokenize", "begin");
  train_ = load(settings_.train, "training");
  validation_ = load(settings_.validation, "validation");
  if (stopping()) return spec::kExitStopped;
  const DatasetStatistics& s = train_.statistics;
  if (train_.documents.count() == 0) {
    throw base::Error(base::kInvalidData,
                      "the training data has no row with a trained token (" + count_text(s.rows, "row") + " read)",
                      "check data.train: its format, and that the rows have an answer to learn from");
  }
  if (tokenizer_->vocab_size() > architecture_.vocab_size) {
    const int32_t highest = *std::max_element(train_.documents.tokens.begin(), train_.documents.tokens.end());
    if (highest >= architecture_.vocab_size) {
      throw base::Error(base::kInvalidModel,
                        "the tokenizer made token " + std::to_string(highest) + ", but the model has only " +
                            std::to_string(architecture_.vocab_size),
                        "use the tokenizer that belongs to this model");
    }
  }
  data_fingerprint_ = train_.fingerprint();
  rows_ = make_rows(train_.documents, settings_.packing, settings_.max_length);
  validation_rows_ = make_rows(validation_.documents, settings_.packing, settings_.max_length);
  plan_.emplace(static_cast<int64_t>(rows_.size()), settings_.batch_size, settings_.gradient_accumulation_steps,
                settings_.shuffle, settings_.seed);
  total_steps_ =
      settings_.max_steps > 0
          ? settings_.max_steps
          : static_cast<int64_t>(std::ceil(settings_.num_train_epochs * static_cast<double>(plan_->steps_per_epoch())));
  warmup_steps_ = settings_.warmup_steps > 0
                      ? settings_.warmup_steps
                      : static_cast<int64_t>(std::ceil(settings_.warmup_ratio * static_cast<double>(total_steps_)));
  if (settings_.schedule == ScheduleType::kConstant && warmup_steps_ > 0) {
    warn("WARMUP_IGNORED", "the schedule constant has no warmup", "use lr_scheduler_type constant_with_warmup");
  }
  if (history_.last_data_step < 0) {
    context_.events.metric(0, {{"train_rows", s.rows},
                               {"dropped_rows", s.dropped_rows},
                               {"truncated_rows", s.truncated_rows},
                               {"train_tokens", s.tokens},
                               {"train_trained_tokens", s.trained_tokens},
                               {"steps_per_epoch", plan_->steps_per_epoch()},
                               {"total_steps", total_steps_}});
  }
  context_.events.phase("tokenize", "end");

  make_decoder();
  resume();
  context_.events.phase("train", "begin");
  for (;;) {
    const bool last = step_ == total_steps_;
    const auto due = [&](int64_t every) { return step_ > 0 && every > 0 && (last || step_ % every == 0); };
    const bool interrupted = due(settings_.eval_steps) && !validation_rows_.empty() && !evaluate();
    if (due(settings_.save_steps)) save();
    if (interrupted) return stop();
    if (last) break;
    if (stopping() || !train_step()) return stop();
  }
  context_.events.phase("train", "end");
  if (stopping()) return stop();
  publish();
  return spec::kExitSucceeded;
}

}  // namespace

int run_training(spec::EngineContext& context) {
  // libtorch's exceptions end here.
  try {
    return Trainer(context).run();
  } catch (const c10::Error& error) {
    const std::string text = error.what_without_backtrace();
    if (dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr ||
        text.find("allocate memory") != std::string::npos) {
      throw base::Error(
          base::kOutOfMemory, text,
          "halve per_device_train_batch_size and double gradient_accumulation_steps, lower max_length, or set "
          "gradient_checkpointing to true");
    }
    throw;
  }
}

}  // namespace slipway::train
