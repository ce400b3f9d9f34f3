#include "agents/engine/runtime/model_runner.h"

#include <algorithm>
#include <cmath>
#include <exception>

#include "agents/engine/runtime/sampler.h"

namespace slipway::runtime {
namespace {

constexpr size_t kLogitRows = 32;  // rows whose logits are computed and used at once
constexpr char kNotANumber[] = "the model's output is not a number; its weights or the adapter's may be damaged";

}  // namespace

std::span<StepResult> ModelRunner::run(const std::vector<Work>& plan) {
  assemble(plan);
  start_masks();
  try {
    decoder_.forward(tokens_, segments_, cache_);
  } catch (...) {
    mask_thread_.wait();
    throw;
  }
  finish_masks();
  use_states();
  for (size_t begin = 0; begin < wanted_.size(); begin += kLogitRows) {
    use_logits(begin, std::min(begin + kLogitRows, wanted_.size()));
  }
  return std::span(results_).first(plan.size());
}

void ModelRunner::assemble(const std::vector<Work>& plan) {
  tokens_.clear();
  segments_.clear();
  wanted_.clear();
  states_.clear();
  masked_.clear();
  results_.resize(std::max(results_.size(), plan.size()));
  for (size_t i = 0; i < plan.size(); ++i) {
    Sequence& sequence = *plan[i].sequence;
    Segment segment;
    segment.row = static_cast<int64_t>(tokens_.size());
    segment.rows = plan[i].tokens;
    segment.position = sequence.computed;
    segment.pages = sequence.pages.data();
    if (const AdapterWeights* adapter = sequence.adapter_weights; adapter != nullptr) {
      segment.lora = adapter->lora.layers.empty() ? nullptr : &adapter->lora;
      segment.virtual_tokens = adapter->virtual_tokens.data();
    }
    segments_.push_back(segment);
    const auto length = static_cast<int64_t>(sequence.tokens.size());
    const int64_t known = std::min(plan[i].tokens, length - sequence.computed);
    const auto begin = sequence.tokens.begin() + sequence.computed;
    tokens_.insert(tokens_.end(), begin, begin + known);
    tokens_.insert(tokens_.end(), sequence.draft.begin(), sequence.draft.end());
    results_[i].tokens.clear();
    results_[i].failure.clear();
    results_[i].sequence = &sequence;
    results_[i].computed = known;

    const int64_t end = sequence.computed + plan[i].tokens;
    if (sequence.on_state) {
      if (end == length) states_.emplace_back(i, segment.row + known - 1);
      continue;
    }
    for (int64_t position = std::max(sequence.first_needed(), sequence.computed); position < end; ++position) {
      const int64_t guess = sequence.generates() && position >= length - 1 ? position - (length - 1) : -1;
      wanted_.push_back({i, segment.row + position - sequence.computed, position, guess});
    }
    if (sequence.generates() && end >= length) {
      results_[i].tokens.resize(sequence.draft.size() + 1);
      if (sequence.request.constraint) masked_.push_back(i);
    }
  }
}

void ModelRunner::start_masks() {
  if (masked_.empty()) return;
  const auto words = static_cast<size_t>((architecture_.vocab_size + 31) / 32);
  mask_thread_.start([this, words] {
    for (const size_t i : masked_) {
      Sequence& sequence = *results_[i].sequence;
      sequence.mask.resize(words);
      if (!sequence.request.constraint->fill_mask(sequence.mask)) results_[i].failure = "the grammar library failed";
    }
  });
}

void ModelRunner::finish_masks() {
  if (!masked_.empty()) mask_thread_.wait();
}

void ModelRunner::use_states() {
  for (const auto& [result, row] : states_) {
    std::vector<float> state(static_cast<size_t>(architecture_.hidden_size));
    decoder_.final_states(std::span(&row, 1), state.data());
    Sequence& sequence = *results_[result].sequence;
    if (!std::all_of(state.begin(), state.end(), [](float value) { return std::isfinite(value); })) {
      results_[result].failure = kNotANumber;
    } else {
      sequence.on_state(std::move(state));
    }
  }
}

void ModelRunner::use_logits(size_t begin, size_t end) {
  const auto vocabulary = static_cast<size_t>(architecture_.vocab_size);
  rows_.clear();
  for (size_t i = begin; i < end; ++i) rows_.push_back(wanted_[i].row);
  logits_.resize(std::max(logits_.size(), rows_.size() * vocabulary));
  decoder_.logits(rows_, logits_.data());

  failures_.resize(std::max(failures_.size(), rows_.size()));
  pool_.run(static_cast<int64_t>(rows_.size()), [&](int64_t index, int) {
    const auto i = static_cast<size_t>(index);
    failures_[i].clear();
    try {
      use_row(wanted_[begin + i], std::span(logits_.data() + i * vocabulary, vocabulary), failures_[i]);
    } catch (const std::exception& error) {
      failures_[i] = error.what();
    }
  });
  for (size_t i = 0; i < rows_.size(); ++i) {
    if (!failures_[i].empty()) results_[wanted_[begin + i].result].failure = failures_[i];
  }
}

// Any worker.
void ModelRunner::use_row(const Wanted& want, std::span<float> logits, std::string& failure) {
  StepResult& result = results_[want.result];
  Sequence& sequence = *result.sequence;
  const LogTotal total = log_total(logits, table_);
  if (!std::isfinite(total.sum)) {
    failure = kNotANumber;
    return;
  }
  if (sequence.on_logits) {
    sequence.on_logits(want.position, logits.data());
    return;
  }
  if (!sequence.prompt_results.empty() && want.position + 1 < sequence.prompt_tokens) {
    const auto next = static_cast<size_t>(want.position + 1 - sequence.virtual_tokens);
    sequence.prompt_results[next] =
        describe(logits, sequence.text()[next], sequence.request.prompt_logprobs, total.value);
  }
  if (want.guess < 0) return;
  SamplingState state;
  state.tokens = sequence.text();
  state.guesses = std::span(sequence.draft).first(static_cast<size_t>(want.guess));
  state.prompt_tokens = sequence.prompt_tokens - sequence.virtual_tokens;
  if (sequence.request.constraint) state.mask = sequence.mask;
  const int64_t generated = static_cast<int64_t>(sequence.tokens.size()) + want.guess - sequence.prompt_tokens;
  if (generated < sequence.request.min_tokens) state.banned = sequence.end_tokens;
  result.tokens[static_cast<size_t>(want.guess)] = sample(logits, sequence.request.sampling, state, total, table_);
}

}  // namespace slipway::runtime
