#include "agents/engine/train/plan.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "agents/engine/spec/engine_main.h"
#include "agents/engine/spec/schema.h"
#include "agents/engine/train/arguments.h"
#include "agents/engine/train/checkpoints/run_state.h"
#include "agents/engine/train/environment.h"
#include "agents/engine/train/optimizers/optimizer.h"
#include "agents/engine/train/optimizers/schedule.h"
#include "agents/engine/train/parallel/rank_environment.h"
#include "agents/engine/train/parallel/ranks.h"
#include "agents/engine/train/prepare.h"
#include "backend/base/clock.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::train {

namespace {

using SteadyClock = std::chrono::steady_clock;
constexpr size_t kMaxSpecBytes = size_t{16} << 20U;
constexpr int64_t kMostStepsLookedAt = 10000;

struct Measured {
  double seconds = 0;
  int64_t tokens = 0;
};

int64_t tokens_of_step(const Job& job, StepPlan& plan, int64_t step) {
  int64_t tokens = 0;
  for (const auto& micro_batch : plan.micro_batches(step)) {
    for (const int64_t row : micro_batch) {
      for (const int64_t document : job.rows.rows[static_cast<size_t>(row)]) {
        tokens += job.train.documents.length(document);
      }
    }
  }
  return tokens;
}

Measured measure_step(const Job& job, Ranks& ranks, StepRunner& runner, Decoder& decoder, Optimizer& optimizer,
                      StepPlan& plan, int64_t step, const ReferenceScores& reference) {
  const auto begin = SteadyClock::now();
  Parameters& parameters = ranks.own(decoder);
  parameters.gradients.zero_();
  StepResult result;
  runner.add_gradient(job.rows, reference, plan.micro_batches(step), step, result);
  clip_gradients(parameters, ranks.gradient_norm(decoder), job.settings.max_grad_norm);
  optimizer.step(parameters, job.settings.learning_rate, 1);
  decoder.refresh();
  return {std::chrono::duration<double>(SteadyClock::now() - begin).count(), result.tokens};
}

std::string advice_for(const TrainSettings& settings) {
  if (!settings.gradient_checkpointing) return "set gradient_checkpointing to true, or lower max_length";
  if (settings.method.type == MethodType::kFull) return "use method lora, or optim adamw_8bit";
  return "lower max_length, or choose a smaller model";
}

// What this rank keeps of a checkpoint beside the steps that are computed while it is written.
int64_t checkpoint_copy_bytes(const Job& job, Ranks& ranks, Decoder& decoder, Optimizer& optimizer,
                              double step_seconds) {
  constexpr double kWrittenPerSecond = 5e8;  // a local disk takes more, also beside the training
  const bool saves_between = job.settings.save_steps > 0 && job.settings.save_steps < job.total_steps;
  if (!saves_between || !ranks.is_first()) return 0;
  auto bytes = static_cast<int64_t>(ranks.own(decoder).values.nbytes());
  for (const StateTensor& state : optimizer.state()) bytes += static_cast<int64_t>(state.tensor.nbytes());
  if (ranks.moves_together()) return bytes * ranks.size();
  // Only what is not written when it is about to change, and waited for in vain.
  const double patience = std::chrono::duration<double>(CheckpointWriter::kPatience).count();
  if (ranks.own(decoder).values.is_cpu()) bytes -= static_cast<int64_t>(kWrittenPerSecond * (step_seconds + patience));
  return std::max<int64_t>(0, bytes);
}

nlohmann::ordered_json plan_job(const spec::EngineContext& context, const std::filesystem::path& scratch) {
  const auto began = SteadyClock::now();
  Job job;
  job.settings = settings_from_spec(context.spec);
  job.cache = scratch;
  const Warn ignore = [](const std::string&, const std::string&, const std::string&) {};
  load_model(context, ignore, job);
  Ranks alone(std::nullopt, job.settings.strategy);  // each rank has a scratch folder of its own
  load_data(context, ignore, Begin::kOnAllRows, alone, job);
  const auto environment = rank_environment();
  Ranks ranks(environment, job.settings.strategy);
  const Machine machine = choose_machine(job.settings, environment);
  ranks.place(machine.device);
  const auto decoder = make_decoder(context, job, machine, ranks.residence());
  job.weights->leave_memory();
  const auto optimizer = make_optimizer(optimizer_options(job.settings), ranks.own(*decoder));
  const double start_seconds = std::chrono::duration<double>(SteadyClock::now() - began).count();

  give_back_freed_memory();
  StepRunner runner(*decoder, ranks, job.settings, machine.device.is_cpu(), [] { return true; });
  StepPlan& plan = *job.plan;
  int64_t heaviest = 0, most_tokens = 0, epoch_tokens = 0;
  const int64_t looked_at = std::min(plan.steps_per_epoch(), kMostStepsLookedAt);
  for (int64_t step = 0; step < looked_at; ++step) {
    const int64_t tokens = tokens_of_step(job, plan, step);
    epoch_tokens += tokens;
    if (tokens <= most_tokens) continue;
    most_tokens = tokens;
    heaviest = step;
  }
  // Scores of a reference cost about half a step per epoch's tokens, once; for the measurement any will do.
  const ReferenceScores reference(
      job.settings.objective.compares_with_reference() ? static_cast<size_t>(job.train.documents.count()) : 0, -1.0);
  measure_step(job, ranks, runner, *decoder, *optimizer, plan, 0, reference);  // the first one also fills caches
  const Measured measured = measure_step(job, ranks, runner, *decoder, *optimizer, plan, heaviest, reference);
  const double rate = static_cast<double>(measured.tokens) / measured.seconds;
  const double tokens_per_step = static_cast<double>(epoch_tokens) / static_cast<double>(looked_at);
  const double step_seconds = tokens_per_step / rate;

  const double steps = static_cast<double>(job.total_steps);
  double duration = start_seconds + steps * step_seconds;
  if (job.settings.eval_steps > 0) {
    // Forward alone: a half of what LoRA computes, a third of full fine-tuning.
    const double share = job.settings.method.type == MethodType::kLora ? 0.5 : 1.0 / 3;
    const double evaluations = std::ceil(steps / static_cast<double>(job.settings.eval_steps));
    duration += evaluations * share * static_cast<double>(job.validation.statistics.tokens) / rate;
  }
  if (!reference.empty()) duration += 0.5 * static_cast<double>(job.train.statistics.tokens) / rate;
  const int64_t kept = checkpoint_copy_bytes(job, ranks, *decoder, *optimizer, step_seconds);
  const std::vector<double> peaks = ranks.of_each(static_cast<double>(peak_resident_bytes() + kept));
  const double peak = *std::max_element(peaks.begin(), peaks.end());
  const double all = std::accumulate(peaks.begin(), peaks.end(), 0.0);
  // To this process; what the others hold is theirs already.
  const double own = peaks[static_cast<size_t>(ranks.rank())];
  const double here = static_cast<double>(available_memory_bytes());  // 0: the system does not tell
  const double available = here > 0 ? here + all - own : 0;
  const bool fits = here == 0 || all <= available;
  return {{"total_steps", job.total_steps},
          {"steps_per_epoch", plan.steps_per_epoch()},
          {"train_rows", job.train.statistics.rows},
          {"train_tokens", job.train.statistics.tokens},
          {"tokens_per_second", rate},
          {"seconds_per_step", step_seconds},
          {"duration_s", duration},
          {"ranks", ranks.size()},
          {"peak_memory_bytes", static_cast<int64_t>(peak)},
          {"available_memory_bytes", static_cast<int64_t>(available)},
          {"fits", fits},
          {"advice", fits ? "" : advice_for(job.settings)}};
}

}  // namespace

bool asks_for_plan(int argc, char** argv) {
  return std::any_of(argv + 1, argv + argc, [](const char* text) { return std::string_view(text) == "--plan"; });
}

int run_plan(int argc, char** argv) {
  const std::string spec_path = argument(argc, argv, "--spec"), workdir = argument(argc, argv, "--workdir");
  if (spec_path.empty() || workdir.empty()) {
    std::fputs("Usage: slipway-train --spec FILE --workdir DIR --plan\n", stderr);
    return spec::kExitWrongSpec;
  }
  try {
    const base::TemporaryFolder scratch;
    const base::SystemClock clock;
    spec::EventWriter events(scratch.path(), clock);
    const std::atomic<bool> stop = false;
    const spec::EngineContext context{spec::parse_spec("train", base::read_file(spec_path, kMaxSpecBytes)),
                                      std::filesystem::absolute(workdir).lexically_normal(), events, stop};
    const auto environment = rank_environment();
    const nlohmann::ordered_json plan = plan_job(context, scratch.path());
    if (!environment || environment->rank == 0) std::printf("%s\n", plan.dump(2).c_str());
    return spec::kExitSucceeded;
  } catch (const base::Error& error) {
    std::fprintf(stderr, "slipway-train: %s: %s\nslipway-train: %s\n", error.code().c_str(), error.what(),
                 error.advice().c_str());
    return error.code() == base::kInvalidSpec ? spec::kExitWrongSpec : spec::kExitFailed;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "slipway-train: %s\n", error.what());
    return spec::kExitFailed;
  }
}

}  // namespace slipway::train
