#include "agents/engine/train/checkpoints/run_state.h"

#include <ATen/ATen.h>

#include <chrono>
#include <cstring>
#include <utility>

#include "backend/base/error.h"

namespace slipway::train {

namespace {

constexpr char kBestValues[] = "best_values";

at::Tensor copy_of(const at::Tensor& tensor) { return tensor.is_cpu() ? tensor.clone() : tensor.to(at::kCPU); }

SavedTensor saved(const Snapshot::Copy& copy) {
  return {copy.name,
          copy.shape,
          {static_cast<const std::byte*>(copy.values.data_ptr()), copy.values.nbytes()},
          copy.values.scalar_type() == at::kByte ? model::DType::kU8 : model::DType::kF32};
}

// Copies the checkpoint's tensor `name` into `target`.
void fill(const model::Weights& weights, const std::string& name, at::Tensor target) {
  const bool fits = weights.contains(name) && weights.get(name).elements() == target.numel();
  if (!fits) {
    throw base::Error(base::kInvalidModel, "the checkpoint's tensor " + name + " does not fit this model",
                      "start in a new workdir");
  }
  at::Tensor values = at::empty({target.numel()}, target.options().device(at::kCPU));
  if (values.scalar_type() == at::kByte) {
    const model::TensorView view = weights.get(name);
    std::memcpy(values.data_ptr(), view.data.data(), view.data.size());
  } else {
    weights.read_f32(name, {values.data_ptr<float>(), static_cast<size_t>(values.numel())});
  }
  target.copy_(values.view(target.sizes()));
}

}  // namespace

Snapshot take_snapshot(const RunState& state, const RunIdentity& identity, const Parameters& parameters,
                       Optimizer& optimizer) {
  Snapshot snapshot;
  snapshot.step = state.step;
  snapshot.parameter_file = identity.parameter_file;
  const at::Tensor values = copy_of(parameters.values);
  for (const Parameter& p : parameters.list()) {
    snapshot.parameters.push_back({p.name, p.shape, values.narrow(0, p.offset, p.size)});
  }
  for (const StateTensor& tensor : optimizer.state()) {
    snapshot.optimizer.push_back({tensor.name, tensor.tensor.sizes().vec(), copy_of(tensor.tensor)});
  }
  if (state.best_values.defined()) {
    snapshot.optimizer.push_back({kBestValues, state.best_values.sizes().vec(), copy_of(state.best_values)});
  }
  snapshot.state = {
      {"version", 1},
      {"step", state.step},
      {"total_steps", identity.total_steps},
      {"data_position",
       {{"epoch", state.step / identity.steps_per_epoch}, {"step_in_epoch", state.step % identity.steps_per_epoch}}},
      {"random", {{"generator", "splitmix64 of (seed, purpose, index)"}, {"seed", identity.seed}}},
      {"tokens", state.tokens},
      {"trained_tokens", state.trained_tokens},
      {"interval", {{"steps", state.interval_steps}, {"loss", state.interval_loss}}},
      {"evaluations_since_best", state.evaluations_since_best},
      {"evaluated_step", state.evaluated_step},
      {"stopped_early", state.stopped_early},
      {"precision", identity.precision},
      {"tokenizer_fingerprint", identity.tokenizer_fingerprint},
      {"data_fingerprint", identity.data_fingerprint},
      {"spec_fingerprint", identity.spec_fingerprint},
  };
  if (state.best_loss < std::numeric_limits<double>::infinity()) snapshot.state["best_loss"] = state.best_loss;
  return snapshot;
}

void restore(const LoadedCheckpoint& checkpoint, const RunIdentity& identity, Parameters& parameters,
             Optimizer& optimizer, RunState& state) {
  const nlohmann::json& saved_state = checkpoint.state;
  if (saved_state.at("data_fingerprint") != identity.data_fingerprint) {
    throw base::Error(
        base::kInvalidData,
        "the training data is not what step-" + std::to_string(checkpoint.step) + " in this workdir was trained on",
        "put the former data back, or start in a new workdir");
  }
  for (size_t i = 0; i < parameters.list().size(); ++i) {
    fill(*checkpoint.parameters, parameters.list()[i].name, parameters.value(i));
  }
  for (const StateTensor& tensor : optimizer.state()) fill(*checkpoint.optimizer, tensor.name, tensor.tensor);
  if (checkpoint.optimizer->contains(kBestValues)) {
    state.best_values = at::empty_like(parameters.values);
    fill(*checkpoint.optimizer, kBestValues, state.best_values);
  }
  state.step = checkpoint.step;
  state.tokens = saved_state.at("tokens").get<int64_t>();
  state.trained_tokens = saved_state.at("trained_tokens").get<int64_t>();
  state.interval_steps = saved_state.at("interval").at("steps").get<int64_t>();
  state.interval_loss = saved_state.at("interval").at("loss").get<double>();
  state.best_loss = saved_state.value("best_loss", std::numeric_limits<double>::infinity());
  state.evaluations_since_best = saved_state.value("evaluations_since_best", int64_t{0});
  state.evaluated_step = saved_state.value("evaluated_step", int64_t{-1});
  state.stopped_early = saved_state.value("stopped_early", false);
}

CheckpointWriter::~CheckpointWriter() {
  if (writing_.valid()) writing_.wait();
}

void CheckpointWriter::start(Snapshot snapshot) {
  writing_ = std::async(std::launch::async, [this, snapshot = std::move(snapshot)] {
    CheckpointContent content;
    content.step = snapshot.step;
    content.parameter_file = snapshot.parameter_file;
    for (const Snapshot::Copy& copy : snapshot.parameters) content.parameters.push_back(saved(copy));
    for (const Snapshot::Copy& copy : snapshot.optimizer) content.optimizer.push_back(saved(copy));
    content.state = snapshot.state;
    return Written{snapshot.step, store_.save(content)};
  });
}

std::optional<CheckpointWriter::Written> CheckpointWriter::collect(bool wait) {
  if (!writing_.valid()) return std::nullopt;
  if (!wait && writing_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) return std::nullopt;
  return writing_.get();
}

}  // namespace slipway::train
