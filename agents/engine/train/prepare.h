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
#include "agents/engine/model/weights.h"
#include "agents/engine/spec/engine_main.h"
#include "agents/engine/text/tokenizer.h"
#include "agents/engine/train/data/dataset.h"
#include "agents/engine/train/data/packing.h"
#include "agents/engine/train/decoder/decoder.h"
#include "agents/engine/train/optimizers/optimizer.h"
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
  Dataset train, validation;
  RowSet rows, validation_rows;
  std::optional<StepPlan> plan;
  int64_t total_steps = 0;
};

// Model, tokenizer and adapter. Throws base::Error.
void load_model(const spec::EngineContext& context, const Warn& warn, Job& job);

// Data and plan. Returns early when a stop came. Throws base::Error.
void load_data(const spec::EngineContext& context, const Warn& warn, Job& job);

// Where and in which type this job computes.
struct Machine {
  at::Device device = at::kCPU;
  at::ScalarType compute_type = at::kFloat;
};
// local_rank: which of this machine's GPUs, where there are several ranks.
Machine choose_machine(Precision precision, int64_t local_rank);

// The decoder with the values that training begins with.
std::unique_ptr<Decoder> make_decoder(const spec::EngineContext& context, const Job& job, const Machine& machine,
                                      Residence* residence);

OptimizerOptions optimizer_options(const TrainSettings& settings);

}  // namespace slipway::train
