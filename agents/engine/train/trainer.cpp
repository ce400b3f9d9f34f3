#include "agents/engine/train/trainer.h"

#include <ATen/ATen.h>
#include <c10/core/CachingDeviceAllocator.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "agents/engine/train/environment.h"
#include "agents/engine/train/publishing/publish.h"
#include "agents/engine/train/settings.h"

namespace slipway::train {

namespace {

using SteadyClock = std::chrono::steady_clock;

double seconds_since(SteadyClock::time_point begin) {
  return std::chrono::duration<double>(SteadyClock::now() - begin).count();
}

// In the work folder: the training is to end after the step it is at, and keep what it has learned.
constexpr char kFinishFile[] = "finish";

}  // namespace

// The rows of the next step, where not all are tokenised yet. False when a stop came first.
bool Trainer::has_rows() {
  if (!early_) return true;
  if (!take_rows(context_, warn(), state_.step, ranks_, job_, early_)) return false;
  if (early_) return true;
  reporter_.data(data_values(job_));
  identity_.steps_per_epoch = job_.plan->steps_per_epoch();
  return true;
}

int64_t Trainer::peak_memory() const {
  if (machine_.device.is_cuda()) {
    if (auto* allocator = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(at::kCUDA)); allocator != nullptr) {
      return allocator->getDeviceStats(machine_.device.index()).allocated_bytes[0].peak;
    }
  }
  return peak_resident_bytes();
}

void Trainer::check_finite(const StepResult& result, double gradient_norm) const {
  if (std::isfinite(result.loss) && std::isfinite(gradient_norm)) return;
  throw base::Error("NAN_LOSS",
                    "step " + std::to_string(state_.step + 1) + ": the " +
                        (std::isfinite(result.loss) ? "gradient" : "loss") + " is no longer a finite number" +
                        saver_.last_good(),
                    "lower training.learning_rate, add warmup_steps, keep max_grad_norm at 1.0, or use precision f32; "
                    "then start in a new workdir");
}

// One optimizer step. False when a stop came first: then nothing has changed.
bool Trainer::train_step() {
  const TrainSettings& settings = job_.settings;
  const auto begin = SteadyClock::now();
  Parameters& parameters = ranks_.own(*decoder_);
  parameters.gradients.zero_();
  StepResult result;
  const std::vector<std::vector<int64_t>> micro_batches = job_.plan->micro_batches(state_.step);
  if (!runner_->add_gradient(job_.rows, reference_, micro_batches, state_.step, result)) return false;
  const double learning_rate =
      settings.learning_rate * schedule_factor(settings.schedule, state_.step, job_.total_steps);
  const double gradient_norm = ranks_.gradient_norm(*decoder_);
  clip_gradients(parameters, gradient_norm, settings.max_grad_norm);
  check_finite(result, gradient_norm);
  if (gradient_norm == 0 && settings.learning_rate > 0) {
    reporter_.warn("ZERO_GRADIENT", "the gradient is exactly zero, so the loss no longer moves",
                   "check that the data has trained tokens and that the adapter is not all zeros");
  }
  saver_.before_change();
  optimizer_->step(parameters, learning_rate, state_.step + 1);
  decoder_->refresh();

  ++state_.step;
  state_.tokens += result.tokens;
  state_.trained_tokens += result.trained_tokens;
  ++state_.interval_steps;
  state_.interval_loss += result.loss;
  double work = 0;
  for (const auto& rows : micro_batches) work += work_count_->rows(job_.rows, rows);
  pace_.add(result.tokens, work, seconds_since(begin));
  report_step(result, learning_rate, gradient_norm);
  return true;
}

void Trainer::report_step(const StepResult& result, double learning_rate, double gradient_norm) {
  const int64_t step = state_.step;
  const bool logged = step % job_.settings.logging_steps == 0 || step == job_.total_steps;
  if (logged || reporter_.progress_is_due()) {
    reporter_.progress(step, job_.total_steps, pace_.seconds_for(job_.total_steps - step));
  }
  if (!logged) return;
  const std::vector<double> memory = ranks_.of_each(static_cast<double>(peak_memory()));
  nlohmann::ordered_json values = step_values(job_, state_, result, pace_, learning_rate, gradient_norm,
                                              static_cast<int64_t>(*std::max_element(memory.begin(), memory.end())));
  if (matrix_rate_ > 0) values["mfu"] = pace_.work_per_second() / matrix_rate_;
  if (std::max(job_.settings.ranks, ranks_.size()) > 1) values["ranks"] = ranks_.size();  // also when one is left
  reporter_.step(step, values);
  state_.interval_steps = 0;
  state_.interval_loss = 0;
  pace_.begin_interval();
}

// Loss on the validation set, where there is one, and samples. False when a stop came first.
bool Trainer::evaluate() {
  const TrainSettings& settings = job_.settings;
  const bool decides = settings.load_best_model_at_end || settings.early_stopping_patience > 0;
  // What was said before a crash need not be computed again, unless something hangs on it.
  const bool is_said = ranks_.any(ranks_.is_first() && reporter_.evaluation_is_said(state_.step));
  if (job_.validation_rows.count() > 0 && (!is_said || decides)) {
    StepResult result;
    if (!runner_->evaluate(job_.validation_rows, validation_reference_, result)) return false;
    nlohmann::ordered_json values = {{"eval_loss", result.loss}};
    if (settings.objective.type == ObjectiveType::kSupervised) values["eval_perplexity"] = std::exp(result.loss);
    for (const auto& [name, value] : result.further) values["eval_" + name] = value;
    reporter_.evaluation(state_.step, values);
    if (decides) keep_best(result.loss);
    state_.evaluated_step = state_.step;
  }
  if (ranks_.is_first() || ranks_.moves_together()) {
    samples_->take(*decoder_, state_.step, [this] { return !stopping(); });
  }
  if (stopping()) return false;
  state_.evaluated_step = state_.step;
  return true;
}

void Trainer::keep_best(double loss) {
  const TrainSettings& settings = job_.settings;
  if (loss < state_.best_loss - settings.early_stopping_threshold) {
    state_.best_loss = loss;
    state_.evaluations_since_best = 0;
    if (settings.load_best_model_at_end) state_.best_values = ranks_.own(*decoder_).values.clone();
    return;
  }
  ++state_.evaluations_since_best;
  if (settings.early_stopping_patience == 0 || state_.evaluations_since_best < settings.early_stopping_patience) return;
  state_.stopped_early = true;
  reporter_.warn("EARLY_STOPPING",
                 "the validation loss has not fallen for " + std::to_string(state_.evaluations_since_best) +
                     " evaluations: training ends at step " + std::to_string(state_.step),
                 "raise early_stopping_patience to train on");
}

// The next steps are computed while it is written, of the first what does not change yet.
void Trainer::save() {
  saver_.save(state_.step, [this] { return take_snapshot(state_, identity_, ranks_, *decoder_, *optimizer_); });
}

int Trainer::stop() {
  if (state_.step > 0) save();
  saver_.collect(true);
  return spec::kExitStopped;
}

void Trainer::finish() {
  // What only steps need makes room for what the outputs are compared with.
  optimizer_.reset();
  ranks_.own(*decoder_).leave_gradients();
  decoder_->leave_scratch();
  give_back_freed_memory();
  const at::Tensor own = ranks_.own(*decoder_).values;
  if (state_.best_values.defined()) {
    own.copy_(state_.best_values);
    decoder_->refresh();
  }
  reporter_.phase("export", "begin");
  if (!ranks_.moves_together()) {
    if (ranks_.is_first()) publish(context_, job_, *decoder_, machine_, reporter_);
  } else if (const at::Tensor whole = ranks_.whole(*decoder_, own); whole.defined()) {
    DecoderOptions options;
    options.trainable = false;
    options.scores = job_.settings.objective.type == ObjectiveType::kReward;
    Decoder here(job_.architecture, *job_.weights, job_.settings.method, options);
    here.parameters().values.copy_(whole);
    here.refresh();
    publish(context_, job_, here, Machine(), reporter_);
  }
  reporter_.phase("export", "end");
}

bool Trainer::asked_to_finish() {
  return ranks_.any(ranks_.is_first() && std::filesystem::exists(context_.workdir / kFinishFile));
}

void Trainer::fail(const base::Error& error) { ranks_.fail(error.code(), error.what(), error.advice()); }

int Trainer::run() {
  if (ranks_.is_first()) check_outputs(context_, job_.settings);
  load();
  if (all_stop()) return spec::kExitStopped;
  make_ready();
  if (!score_references()) return spec::kExitStopped;
  if (ranks_.any(checkpoint_.has_value())) restore_checkpoint();
  give_back_freed_memory();  // of loading and tokenising
  reporter_.phase("train", "begin");
  const TrainSettings& settings = job_.settings;
  for (;;) {
    if (state_.step > 0 && asked_to_finish()) state_.stopped_early = true;
    const bool last = finished();
    const auto due = [&](int64_t every) { return state_.step > 0 && every > 0 && (last || state_.step % every == 0); };
    const bool evaluates = due(settings.eval_steps) && state_.evaluated_step != state_.step &&
                           (job_.validation_rows.count() > 0 || !settings.sample_prompts.empty());
    const bool interrupted = evaluates && !evaluate();
    if (due(settings.save_steps) || (settings.save_steps > 0 && finished())) save();
    if (interrupted) return stop();
    if (finished()) break;
    saver_.collect(false);
    if (all_stop() || !has_rows() || !train_step()) return stop();
  }
  saver_.collect(true);
  early_.reset();
  reporter_.phase("train", "end");
  if (all_stop()) return stop();
  finish();
  return spec::kExitSucceeded;
}

}  // namespace slipway::train
