// What comes before the first step.
#include <ATen/ATen.h>

#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "agents/engine/train/matrix_rate.h"
#include "agents/engine/train/optimizers/whole_parameters.h"
#include "agents/engine/train/settings.h"
#include "agents/engine/train/trainer.h"

namespace slipway::train {

Trainer::Trainer(spec::EngineContext& context)
    : context_(context),
      reporter_(context),
      job_{settings_from_spec(context.spec), {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, 0},
      environment_(rank_environment()),
      ranks_(environment_, job_.settings.strategy),
      saver_(context.workdir / "checkpoints", job_.settings.save_total_limit, reporter_, ranks_.is_first()) {}

Warn Trainer::warn() {
  return [this](const std::string& code, const std::string& message, const std::string& advice) {
    reporter_.warn(code, message, advice);
  };
}

void Trainer::load() {
  const Warn warn = this->warn();
  reporter_.phase("load", "begin");
  if (const std::string notice = launch_notice(); !notice.empty()) {
    // Also when an earlier loss had the same words.
    context_.events.warning(kRankLost, notice,
                            "training goes on from the last checkpoint with " + std::to_string(ranks_.size()) +
                                (ranks_.size() == 1 ? " rank" : " ranks") +
                                "; look at stderr.log and at the machine's memory");
  }
  checkpoint_ = saver_.load_latest(job_.settings.parameter_file());
  if (checkpoint_ && checkpoint_->state.value("spec_fingerprint", "") != job_.settings.fingerprint) {
    throw base::Error(
        base::kInvalidSpec,
        "the spec is not the one with which step-" + std::to_string(checkpoint_->step) + " in this workdir was trained",
        "use the former spec to go on, or a new workdir for the new one");
  }
  machine_ = choose_machine(job_.settings, environment_);
  load_model(context_, warn, job_);
  reporter_.phase("load", "end");
  reporter_.phase("tokenize", "begin");
  job_.cache = context_.resolve(job_.settings.cache);
  const Begin begin = ranks_.any(checkpoint_.has_value()) ? Begin::kOnAllRows : Begin::kOnFirstBlocks;
  early_ = load_data(context_, warn, begin, ranks_, job_);
  if (context_.stop.load()) return;
  if (!early_) reporter_.data(data_values(job_));
  reporter_.phase("tokenize", "end");
}

void Trainer::make_ready() {
  const TrainSettings& settings = job_.settings;
  if (!ranks_.place(machine_.device)) {
    warn()("NCCL_MISSING",
           "the ranks' GPUs are connected by way of the main memory, because NCCL is not there on all of them",
           "build slipway-train with make cuda, which puts libslipway_nccl.so beside it");
  }
  if (settings.precision == Precision::kAuto) {
    // Whatever this machine would choose, the run stays what it was, and all ranks do the same.
    std::string chosen = machine_.compute_type == at::kBFloat16 ? "bf16" : "f32";
    if (checkpoint_) chosen = checkpoint_->state.value("precision", "f32");
    machine_.compute_type = ranks_.from_first(chosen) == "bf16" ? at::kBFloat16 : at::kFloat;
  }
  const std::string data = job_.train.fingerprint();
  if (ranks_.from_first(data) != data) {
    throw base::Error(base::kInvalidData, "the training data is not the same as on rank 0",
                      "give all ranks the same files");
  }
  decoder_ = make_decoder(context_, job_, machine_, ranks_.residence());
  job_.weights->leave_memory();
  optimizer_ = make_optimizer(optimizer_options(settings), *decoder_, ranks_);
  runner_.emplace(*decoder_, ranks_, settings, machine_.device.is_cpu(), [this] {
    if (!stopping()) reporter_.heartbeat(state_.step);
    return !stopping();
  });
  samples_.emplace(context_.workdir / "samples.jsonl", *job_.tokenizer, settings.sample_prompts,
                   settings.sample_max_new_tokens, ranks_.is_first());
  samples_->set_last_step(std::stoll(ranks_.from_first(std::to_string(samples_->last_step()))));
  work_count_.emplace(job_.architecture, settings.method, settings.objective.type);
  const std::vector<double> rates = ranks_.of_each(matrix_rate(machine_.device, machine_.compute_type));
  matrix_rate_ = std::accumulate(rates.begin(), rates.end(), 0.0);
  identity_ = {settings.parameter_file(),
               machine_.compute_type == at::kBFloat16 ? "bf16" : "f32",
               job_.tokenizer->fingerprint(),
               data,
               settings.fingerprint,
               settings.seed,
               early_ ? job_.total_steps + 1 : job_.plan->steps_per_epoch(),
               job_.total_steps};
}

// The scores of the model as it is before the first step. False when a stop came first.
bool Trainer::score_references() {
  if (!job_.settings.objective.compares_with_reference()) return true;
  return runner_->score_reference(job_.train, reference_) &&
         runner_->score_reference(job_.validation, validation_reference_);
}

void Trainer::restore_checkpoint() {
  restore(checkpoint_ ? &*checkpoint_ : nullptr, identity_, ranks_, *decoder_, *optimizer_, state_);
  decoder_->refresh();
  saver_.resumed(state_.step, checkpoint_ ? checkpoint_->sha256 : std::string());
  checkpoint_.reset();
}

}  // namespace slipway::train
