// From a spec to everything a run needs before its first step: model, tokenizer, data and the plan of its steps. Used
// by trainer.cpp and plan.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "agents/engine/model/adapter.h"
#include "agents/engine/model/architecture.h"
#include "agents/engine/model/prompt_adapter.h"
#include "agents/engine/model/weights.h"
#include "agents/engine/spec/engine_main.h"
#include "agents/engine/text/tokenizer.h"
#include "agents/engine/train/data/dataset.h"
#include "agents/engine/train/data/early_rows.h"
#include "agents/engine/train/data/packing.h"
#include "agents/engine/train/decoder/decoder.h"
#include "agents/engine/train/optimizers/optimizer.h"
#include "agents/engine/train/parallel/rank_environment.h"
#include "agents/engine/train/parallel/ranks.h"
#include "agents/engine/train/settings.h"
#include "agents/engine/train/step.h"

namespace slipway::train {

using Warn = std::function<void(const std::string& code, const std::string& message, const std::string& advice)>;

struct Job {
  TrainSettings settings;       // init_adapter's rank and layers taken over
  std::filesystem::path cache;  // of tokens
  std::filesystem::path model_path;
  model::Architecture architecture;
  std::unique_ptr<const model::Weights> weights;
  std::unique_ptr<const text::Tokenizer> tokenizer;
  std::optional<model::Adapter> initial_adapter;
  std::optional<model::PromptAdapter> initial_prompt;
  Dataset train, validation;
  RowSet rows, validation_rows;
  std::optional<StepPlan> plan;
  int64_t total_steps = 0;
};

// "1 row", "2 rows".
std::string count_text(int64_t count, const std::string& noun);

// Model, tokenizer and adapter, once the data files are there. Throws base::Error.
void load_model(const spec::EngineContext& context, const Warn& warn, Job& job);

// What TRL pads with, and a reward model reads no score at: the tokenizer's padding token, or its end token; -1: none.
int32_t padding_token(const Job& job);

// Whether training may begin on the first blocks of its data: not with a checkpoint, which may need any of them.
enum class Begin { kOnAllRows, kOnFirstBlocks };
// Data and plan. All ranks call it. With kOnFirstBlocks, and where no more is needed for the first steps to be what
// they will have been (the schedule hangs on the number of steps, so that max_steps must say it), only the rows of
// those: the rest comes by take_rows() from what is returned. Nothing is returned when all is there, or a stop came.
// Throws base::Error.
std::unique_ptr<EarlyRows> load_data(const spec::EngineContext& context, const Warn& warn, Begin begin, Ranks& ranks,
                                     Job& job);
// Makes the rows of `step` known. When the set is whole on all ranks, all of them take it over, and `early` is emptied.
// All ranks call it for the same step. False when a stop came.
bool take_rows(const spec::EngineContext& context, const Warn& warn, int64_t step, Ranks& ranks, Job& job,
               std::unique_ptr<EarlyRows>& early);

// Where and in which type this job computes.
struct Machine {
  at::Device device = at::kCPU;
  at::ScalarType compute_type = at::kFloat;
};
// environment: each rank has a GPU of its own. Throws base::Error INVALID_SPEC where it has none, or none can be used
// and training.device is cuda.
Machine choose_machine(const TrainSettings& settings, const std::optional<RankEnvironment>& environment);

// The decoder with the values that training begins with.
std::unique_ptr<Decoder> make_decoder(const spec::EngineContext& context, const Job& job, const Machine& machine,
                                      Residence* residence);

OptimizerOptions optimizer_options(const TrainSettings& settings);

}  // namespace slipway::train
