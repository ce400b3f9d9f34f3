#include "agents/engine/train/prepare.h"

#include <ATen/Parallel.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <utility>

#include "agents/engine/model/decoder_tensors.h"
#include "agents/engine/train/environment.h"
#include "agents/engine/train/initial_adapter.h"
#include "agents/engine/train/publishing/export.h"
#include "backend/base/error.h"

namespace slipway::train {

std::string count_text(int64_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

namespace {

void check_length(const Job& job) {
  const int64_t virtual_tokens = job.settings.method.virtual_tokens(), length = job.settings.max_length;
  const int64_t positions = job.architecture.max_position_embeddings;
  if (length + virtual_tokens <= positions) return;
  const std::string with = virtual_tokens > 0 ? " with " + count_text(virtual_tokens, "virtual token") : "";
  throw base::Error(base::kInvalidSpec,
                    "training.max_length: " + std::to_string(length) + with + " is more than the model's context of " +
                        count_text(positions, "token"),
                    virtual_tokens < positions
                        ? "set training.max_length to at most " + std::to_string(positions - virtual_tokens)
                        : "lower method.num_virtual_tokens");
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
}

TokenizeOptions tokenize_options(const Job& job) {
  const TrainSettings& settings = job.settings;
  TokenizeOptions options;
  options.max_length = settings.max_length;
  options.rows = {settings.assistant_only_loss, settings.completion_only_loss, settings.method.prompt.num_tasks};
  options.predicts_first = settings.method.virtual_tokens() > 0;
  options.drops_long = settings.objective.type == ObjectiveType::kReward;
  options.seed = settings.seed;
  options.threads = usable_threads();
  options.cache = job.cache;
  return options;
}

std::vector<DataFile> files_of(const spec::EngineContext& context, const std::vector<DataSource>& sources,
                               const Job& job) {
  std::vector<DataFile> files;
  for (const DataSource& source : sources) {
    files.push_back({context.resolve(source.path), source.format, source.weight, {}});
  }
  name_tokens(files, *job.tokenizer, tokenize_options(job));
  return files;
}

// Says what became of its rows, and refuses what the objective cannot learn from.
void check_rows(const Warn& warn, const Job& job, const std::string& what, Dataset& dataset) {
  const TrainSettings& settings = job.settings;
  const DatasetStatistics& s = dataset.statistics;
  const ObjectiveType objective = settings.objective.type;
  if (s.dropped_rows > 0) {
    warn("ROWS_DROPPED",
         std::to_string(s.dropped_rows) + " of " + count_text(s.rows, what + " row") +
             (objective == ObjectiveType::kReward ? " were longer than " : " had no trained token within ") +
             count_text(settings.max_length, "token"),
         "raise training.max_length, or check that the rows have an answer to learn from");
  }
  if (s.truncated_rows > 0) {
    warn("ROWS_TRUNCATED",
         std::to_string(s.truncated_rows) + " of " + count_text(s.rows, what + " row") + " were cut to " +
             count_text(settings.max_length, "token"),
         "raise training.max_length if their ends matter");
  }
  if (objective != ObjectiveType::kSupervised && objective != ObjectiveType::kKto) {
    for (const Preference& one : dataset.preferences) {
      if (one.chosen >= 0 && one.rejected >= 0) continue;
      throw base::Error(base::kInvalidData,
                        what + " rows with a label have only one answer, the objective compares two",
                        "use rows with chosen and rejected, or objective kto");
    }
  }
  if (objective == ObjectiveType::kKto) add_mismatched(dataset, settings.batch_size, settings.max_length);
}

// Training data whose tokens are another model's.
void check_vocabulary(const Job& job) {
  if (job.tokenizer->vocab_size() <= job.architecture.vocab_size) return;
  const int32_t highest = job.train.statistics.highest_token;
  if (highest < job.architecture.vocab_size) return;
  throw base::Error(base::kInvalidModel,
                    "the tokenizer made token " + std::to_string(highest) + ", but the model has only " +
                        std::to_string(job.architecture.vocab_size),
                    "use the tokenizer that belongs to this model");
}

void begin_plan(Job& job) {
  const TrainSettings& settings = job.settings;
  job.plan.emplace(settings.batch_size, settings.gradient_accumulation_steps * settings.ranks, settings.shuffle,
                   settings.seed);
}

// Rows and plan of a set that is there as a whole.
void plan_whole_set(const Warn& warn, Job& job) {
  check_rows(warn, job, "training", job.train);
  if (job.train.epoch.empty()) {
    throw base::Error(
        base::kInvalidData,
        "the training data has no row with a trained token (" + count_text(job.train.statistics.rows, "row") + " read)",
        "check data.train: its format, and that the rows have an answer to learn from");
  }
  check_vocabulary(job);
  job.rows = make_row_set(job.train, job.settings, padding_token(job));
  begin_plan(job);
  for (const int64_t rows : job.rows.blocks) job.plan->add_block(rows);
  job.plan->complete();
}

bool load_validation(const spec::EngineContext& context, const Warn& warn, Job& job) {
  job.validation = load_dataset(files_of(context, job.settings.validation, job), *job.tokenizer, tokenize_options(job),
                                context.stop);
  if (context.stop.load()) return false;
  check_rows(warn, job, "validation", job.validation);
  job.validation_rows = make_row_set(job.validation, job.settings, padding_token(job));
  return true;
}

// Before anything takes its time.
void check_data_files(const spec::EngineContext& context, const TrainSettings& settings) {
  for (const auto* sources : {&settings.train, &settings.validation}) {
    for (const DataSource& source : *sources) {
      const std::filesystem::path path = context.resolve(source.path);
      if (access(path.c_str(), R_OK) != 0) throw base::system_error("read " + path.string(), errno);
    }
  }
}

}  // namespace

void load_model(const spec::EngineContext& context, const Warn& warn, Job& job) {
  check_data_files(context, job.settings);
  job.model_path = context.resolve(job.settings.model_path);
  job.architecture = model::load_architecture(job.model_path);
  check_method(job);
  name_target_modules(job);
  job.weights = model::open_decoder_weights(job.model_path, job.architecture);
  job.tokenizer = text::load_tokenizer(job.model_path);
  if (!job.settings.gguf_output.empty()) check_gguf(job.architecture, *job.tokenizer);
  adopt_initial_adapter(context, warn, job);
  check_length(job);
}

int32_t padding_token(const Job& job) {
  const auto padding = job.tokenizer->pad_id();
  return static_cast<int32_t>(padding ? *padding : job.tokenizer->eos_id().value_or(-1));
}

namespace {

void load_all(const spec::EngineContext& context, const Warn& warn, const std::vector<DataFile>& files, Job& job) {
  const TrainSettings& settings = job.settings;
  job.train = load_dataset(files, *job.tokenizer, tokenize_options(job), context.stop);
  if (context.stop.load()) return;
  plan_whole_set(warn, job);
  if (!load_validation(context, warn, job)) return;
  job.total_steps = settings.max_steps > 0
                        ? settings.max_steps
                        : static_cast<int64_t>(
                              std::ceil(settings.num_train_epochs * static_cast<double>(job.plan->steps_per_epoch())));
}

void check_warmup(const Warn& warn, const Job& job) {
  const ScheduleSettings& schedule = job.settings.schedule;
  if (schedule.type != ScheduleType::kConstant || warmup_steps(schedule, job.total_steps) == 0) return;
  warn("WARMUP_IGNORED", "the schedule constant has no warmup", "use lr_scheduler_type constant_with_warmup");
}

// The others find the tokens ready that the first rank makes, and notice when it is lost.
void first_then_others(Ranks& ranks, const std::function<void()>& load) {
  if (!ranks.is_first()) ranks.from_first({});
  load();
  if (ranks.is_first()) ranks.from_first({});
}

}  // namespace

std::unique_ptr<EarlyRows> load_data(const spec::EngineContext& context, const Warn& warn, Begin begin, Ranks& ranks,
                                     Job& job) {
  const TrainSettings& settings = job.settings;
  const std::vector<DataFile> files = files_of(context, settings.train, job);
  // On several machines some may have the tokens already: all begin alike.
  const bool some_lack_tokens = ranks.any(!are_cached(files, job.cache));
  std::unique_ptr<EarlyRows> early;
  if (begin == Begin::kOnFirstBlocks && settings.max_steps > 0 && some_lack_tokens) {
    early = EarlyRows::begin(files, *job.tokenizer, tokenize_options(job), settings.shuffle);
  }
  if (!early) {
    first_then_others(ranks, [&] { load_all(context, warn, files, job); });
    check_warmup(warn, job);
    return nullptr;
  }
  job.total_steps = settings.max_steps;
  check_warmup(warn, job);
  job.rows = make_row_set(job.train, settings, padding_token(job));
  job.rows.blocks.clear();
  begin_plan(job);
  if (take_rows(context, warn, 0, ranks, job, early)) {
    first_then_others(ranks, [&] { load_validation(context, warn, job); });
  }
  return early;
}

bool take_rows(const spec::EngineContext& context, const Warn& warn, int64_t step, Ranks& ranks, Job& job,
               std::unique_ptr<EarlyRows>& early) {
  constexpr std::chrono::milliseconds kPatience{100};
  bool exhausted = false;
  while (early) {
    if (!job.plan->knows(step) && !exhausted) {
      const auto documents = early->next_block(job.train);
      exhausted = !documents;
      if (documents) {
        check_vocabulary(job);
        add_block(job.rows, *documents, job.settings);
        job.plan->add_block(job.rows.blocks.back());
      }
      continue;
    }
    // Nobody waits alone: what ends one rank ends the waiting of all.
    std::array<double, 2> sums{early->is_whole(exhausted ? kPatience : kPatience * 0) ? 0.0 : 1.0,
                               context.stop.load() ? 1.0 : 0.0};
    ranks.add_up(sums);
    const auto& [still_making, stopping] = sums;
    if (stopping > 0) return false;
    if (still_making > 0 && exhausted) continue;
    if (still_making > 0) return true;
    job.train = early->take_whole();
    early.reset();
    plan_whole_set(warn, job);
  }
  return true;
}

Machine choose_machine(const TrainSettings& settings, const std::optional<RankEnvironment>& environment) {
  at::set_num_threads(usable_threads());
  Machine machine;
  const Gpus gpus = settings.device == DeviceChoice::kCpu ? Gpus() : load_cuda();
  if (settings.device == DeviceChoice::kCuda && gpus.count == 0) {
    throw base::Error(base::kInvalidSpec, "training.device: cuda, but no GPU can be used here: " + gpus.why_none,
                      gpus.advice + ", or set training.device to cpu or auto");
  }
  if (gpus.count > 0) {
    const int64_t gpu = environment ? gpu_of(*environment, gpus.count) : 0;
    machine.device = at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(gpu));
  }
  const bool fast = machine.device.is_cuda() || cpu_has_bf16();
  const Precision precision = settings.precision;
  if (precision == Precision::kBF16 || (precision == Precision::kAuto && fast)) machine.compute_type = at::kBFloat16;
  return machine;
}

namespace {

// The tokens that virtual ones begin as, when they begin as a text.
std::vector<int64_t> prompt_text(const Job& job) {
  const PromptSettings& prompt = job.settings.method.prompt;
  if (prompt.init != PromptInit::kText) return {};
  const std::vector<text::TokenId> ids = job.tokenizer->encode(prompt.init_text, true);
  if (!ids.empty()) return {ids.begin(), ids.end()};
  throw base::Error(base::kInvalidSpec, "method.prompt_tuning_init_text: the tokenizer makes no token of it",
                    "give a text, or set prompt_tuning_init to RANDOM");
}

}  // namespace

std::unique_ptr<Decoder> make_decoder(const spec::EngineContext& context, const Job& job, const Machine& machine,
                                      Residence* residence) {
  const TrainSettings& settings = job.settings;
  DecoderOptions options{machine.device, machine.compute_type, settings.gradient_checkpointing};
  options.neftune_alpha = settings.neftune_noise_alpha;
  options.residence = residence;
  options.scores = settings.objective.type == ObjectiveType::kReward;
  auto decoder = std::make_unique<Decoder>(job.architecture, *job.weights, settings.method, options);
  if (options.scores) {
    if (const bool given = job.initial_adapter && !job.initial_adapter->score.empty(); given) {
      decoder->set_score(job.initial_adapter->score);
    } else {
      decoder->initialize_score(settings.seed);
    }
  }
  if (settings.method.type == MethodType::kFull) return decoder;
  if (job.initial_prompt) {
    load_prompt_into(*decoder, *job.initial_prompt);
  } else if (settings.method.type == MethodType::kPrompt) {
    decoder->initialize_prompt(settings.method.prompt, prompt_text(job), *job.weights, settings.seed);
  } else if (job.initial_adapter) {
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
