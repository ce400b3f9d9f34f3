#include "agents/engine/train/checkpoints/run_state.h"

#include <ATen/ATen.h>

#include <cstring>
#include <utility>

#include "backend/base/error.h"

namespace slipway::train {

namespace {

constexpr char kBestValues[] = "best_values";

// The checkpoint's tensor `name` of so many elements.
at::Tensor read(const model::Weights& weights, const std::string& name, int64_t elements, at::ScalarType type) {
  const bool fits = weights.contains(name) && weights.get(name).elements() == elements;
  if (!fits) {
    throw base::Error(base::kInvalidModel, "the checkpoint's tensor " + name + " does not fit this model",
                      "start in a new workdir");
  }
  const at::Tensor values = at::empty({elements}, at::TensorOptions().dtype(type));
  if (type == at::kByte) {
    const model::TensorView view = weights.get(name);
    std::memcpy(values.data_ptr(), view.data.data(), view.data.size());
  } else {
    weights.read_f32(name, {values.data_ptr<float>(), static_cast<size_t>(elements)});
  }
  return values;
}

}  // namespace

Snapshot take_snapshot(const RunState& state, const RunIdentity& identity, Ranks& ranks, Decoder& decoder,
                       Optimizer& optimizer) {
  Snapshot snapshot;
  CheckpointContent& content = snapshot.content;
  content.step = state.step;
  content.parameter_file = identity.parameter_file;
  // What is gathered from all ranks, or comes from a GPU, is a copy already.
  const auto take = [&](const at::Tensor& whole, bool changes) {
    snapshot.parts.push_back({whole.to(at::kCPU).contiguous(), changes && whole.is_cpu() && !ranks.moves_together()});
  };
  const at::Tensor values = ranks.whole(decoder, ranks.own(decoder).values);
  if (values.defined()) take(values, true);
  const auto keep = [&](const std::string& name, const at::Tensor& whole, bool changes) {
    take(whole, changes);
    content.optimizer.push_back(
        {name, whole.sizes().vec(), whole.scalar_type() == at::kByte ? model::DType::kU8 : model::DType::kF32});
  };
  for (const StateTensor& whole : optimizer.whole_state(ranks, decoder)) keep(whole.name, whole.tensor, true);
  if (state.best_values.defined()) {
    const at::Tensor best = ranks.whole(decoder, state.best_values);
    if (best.defined()) keep(kBestValues, best, false);
  }
  if (!ranks.is_first()) return snapshot;
  // One after the other, as they lie in `values`.
  for (const Parameter& p : decoder.parameters().list()) content.parameters.push_back({p.name, p.shape});
  content.state = {
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
  if (state.best_loss < std::numeric_limits<double>::infinity()) content.state["best_loss"] = state.best_loss;
  return snapshot;
}

void restore(const LoadedCheckpoint* checkpoint, const RunIdentity& identity, Ranks& ranks, Decoder& decoder,
             Optimizer& optimizer, RunState& state) {
  const nlohmann::json saved_state =
      nlohmann::json::parse(ranks.from_first(checkpoint != nullptr ? checkpoint->state.dump() : std::string()));
  if (saved_state.at("data_fingerprint") != identity.data_fingerprint) {
    throw base::Error(
        base::kInvalidData,
        "the training data is not what step-" + saved_state.at("step").dump() + " in this workdir was trained on",
        "put the former data back, or start in a new workdir");
  }
  const Parameters& parameters = decoder.parameters();
  const at::Tensor own_values = ranks.own(decoder).values;
  at::Tensor values;
  if (checkpoint != nullptr) {
    values = at::empty({parameters.element_count()}, at::TensorOptions().dtype(at::kFloat));
    for (const Parameter& p : parameters.list()) {
      values.narrow(0, p.offset, p.size).copy_(read(*checkpoint->parameters, p.name, p.size, at::kFloat));
    }
  }
  ranks.give(decoder, values, own_values);
  const ReadState from_checkpoint = [&](const std::string& name, int64_t elements, at::ScalarType type) {
    return checkpoint != nullptr ? read(*checkpoint->optimizer, name, elements, type) : at::Tensor();
  };
  optimizer.take_whole_state(from_checkpoint, ranks, decoder);
  const bool has_best = checkpoint != nullptr && checkpoint->optimizer->contains(kBestValues);
  if (ranks.any(has_best)) {
    state.best_values = at::empty_like(own_values);
    ranks.give(decoder, from_checkpoint(kBestValues, parameters.element_count(), at::kFloat), state.best_values);
  }
  state.step = saved_state.at("step").get<int64_t>();
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
  std::vector<TensorStream::Part> parts;
  for (const Snapshot::Part& part : snapshot.parts) {
    parts.push_back({{static_cast<const std::byte*>(part.values.data_ptr()), part.values.nbytes()}, part.changes});
  }
  // At the training's own priority: done before the step ends, it need not be copied.
  stream_ = std::make_shared<TensorStream>(std::move(parts));
  writing_ = std::async(std::launch::async, [this, stream = stream_, snapshot = std::move(snapshot)] {
    const auto next = [&](std::span<std::byte> piece) { stream->read(piece); };
    return Written{snapshot.content.step, store_.save(snapshot.content, next)};
  });
}

void CheckpointWriter::before_change() {
  if (writing_.valid() && !is_done()) stream_->detach(kPatience);
}

std::optional<CheckpointWriter::Written> CheckpointWriter::collect(bool wait) {
  if (!writing_.valid()) return std::nullopt;
  if (!wait && !is_done()) return std::nullopt;
  stream_.reset();
  return writing_.get();
}

}  // namespace slipway::train
