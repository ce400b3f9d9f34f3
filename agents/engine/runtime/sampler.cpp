#include "agents/engine/runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "backend/base/error.h"

namespace slipway::runtime {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

struct Candidate {
  int32_t id;
  float logit;
};

bool better(const Candidate& a, const Candidate& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; }

// The `count` best candidates, best first.
std::vector<Candidate> best_candidates(std::span<const float> logits, size_t count) {
  std::vector<Candidate> candidates(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) candidates[i] = {static_cast<int32_t>(i), logits[i]};
  count = std::min(count, candidates.size());
  std::partial_sort(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(count), candidates.end(),
                    better);
  candidates.resize(count);
  return candidates;
}

// A number in [0, 1) from the seed and the step: SplitMix64's finaliser over both.
double uniform(uint64_t seed, uint64_t step) {
  uint64_t x = seed + 0x9e3779b97f4a7c15ULL * (step + 1);
  x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27U)) * 0x94d049bb133111ebULL;
  x ^= x >> 31U;
  return static_cast<double>(x >> 11U) * 0x1p-53;
}

void apply_penalties(std::span<float> logits, const SamplingOptions& options, const SamplingState& state) {
  for (const auto& [id, bias] : options.logit_bias) logits[static_cast<size_t>(id)] += bias;
  if (options.repetition_penalty != 1.0) {
    std::vector<int32_t> seen(state.tokens.begin(), state.tokens.end());
    seen.insert(seen.end(), state.guesses.begin(), state.guesses.end());
    std::sort(seen.begin(), seen.end());
    seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
    const auto penalty = static_cast<float>(options.repetition_penalty);
    for (const int32_t id : seen) {
      float& logit = logits[static_cast<size_t>(id)];
      logit = logit > 0 ? logit / penalty : logit * penalty;
    }
  }
  if (options.presence_penalty != 0 || options.frequency_penalty != 0) {
    std::unordered_map<int32_t, int> counts;
    for (const int32_t id : state.tokens.subspan(static_cast<size_t>(state.prompt_tokens))) ++counts[id];
    for (const int32_t id : state.guesses) ++counts[id];
    for (const auto& [id, count] : counts) {
      logits[static_cast<size_t>(id)] -=
          static_cast<float>(options.presence_penalty + options.frequency_penalty * count);
    }
  }
}

// Takes away what may not come: what the mask does not allow, and the banned tokens, unless nothing else is left.
void apply_limits(std::span<float> logits, const SamplingState& state) {
  for (size_t id = 0; !state.mask.empty() && id < logits.size(); ++id) {
    const auto word = static_cast<uint32_t>(state.mask[id / 32]);
    if ((word >> (id % 32) & 1U) == 0) logits[id] = kMinusInfinity;
  }
  if (state.banned.empty()) return;
  std::vector<float> kept;
  for (const int32_t id : state.banned) {
    kept.push_back(logits[static_cast<size_t>(id)]);
    logits[static_cast<size_t>(id)] = kMinusInfinity;
  }
  const auto possible = [](float logit) { return logit > kMinusInfinity; };
  if (std::any_of(logits.begin(), logits.end(), possible)) return;
  for (size_t i = 0; i < kept.size(); ++i) logits[static_cast<size_t>(state.banned[i])] = kept[i];
}

int32_t greedy(std::span<const float> logits, const kernels::Table& table) {
  return static_cast<int32_t>(table.index_of_maximum(logits.data(), static_cast<int64_t>(logits.size())));
}

// Draws among candidates that are sorted best first, or (top_p 1, top_k 0, min_p 0) among all in the order of their
// ids.
int32_t draw(std::span<const float> logits, const SamplingOptions& options, double point, const kernels::Table& table) {
  const double inverse = 1.0 / options.temperature;
  const int32_t first = greedy(logits, table);
  const double best = logits[static_cast<size_t>(first)];
  if (!std::isfinite(best)) return 0;
  const auto weight = [&](float logit) { return std::exp((static_cast<double>(logit) - best) * inverse); };
  const bool truncated = options.top_k > 0 || options.top_p < 1 || options.min_p > 0;
  std::vector<double> weights;
  double total = 0;
  if (!truncated) {
    weights.reserve(logits.size());
    for (const float logit : logits) total += weights.emplace_back(weight(logit));
    double reach = point * total;
    for (size_t i = 0; i < weights.size(); ++i) {
      reach -= weights[i];
      if (reach < 0) return static_cast<int32_t>(i);
    }
    return first;
  }
  // The best few usually hold what top_p asks for; sort more only when they do not.
  const size_t all = logits.size();
  const size_t limit = options.top_k > 0 ? std::min(all, static_cast<size_t>(options.top_k)) : all;
  double whole = 0;  // the weight of what top_k and min_p leave, which top_p is a share of
  const auto left_by_min_p = [&](double value) { return value >= options.min_p ? value : 0.0; };
  if (options.top_k == 0) {
    for (const float logit : logits) whole += left_by_min_p(weight(logit));
  }
  for (size_t count = options.top_k > 0 ? limit : std::min<size_t>(limit, 256);; count = std::min(limit, count * 16)) {
    const auto candidates = best_candidates(logits, count);
    weights.clear();
    total = 0;
    for (const Candidate& candidate : candidates) total += left_by_min_p(weights.emplace_back(weight(candidate.logit)));
    if (options.top_k > 0) whole = total;
    size_t kept = 0;
    double sum = 0;
    while (kept < weights.size() && (kept == 0 || sum < options.top_p * whole) && weights[kept] >= options.min_p) {
      sum += weights[kept++];
    }
    if (kept == weights.size() && count < limit) continue;
    double reach = point * sum;
    for (size_t i = 0; i < kept; ++i) {
      reach -= weights[i];
      if (reach < 0) return candidates[i].id;
    }
    return candidates[0].id;
  }
}

}  // namespace

void check_options(const SamplingOptions& options) {
  const auto check = [](const char* name, double value, double low, double high) {
    if (!(value >= low && value <= high)) {
      throw base::Error("INVALID_REQUEST", std::string(name) + " is out of range",
                        std::string("give ") + name + " from " + std::to_string(low) + " to " + std::to_string(high));
    }
  };
  check("temperature", options.temperature, 0, 100);
  check("top_p", options.top_p, 0, 1);
  check("top_k", static_cast<double>(options.top_k), 0, 1e9);
  check("min_p", options.min_p, 0, 1);
  check("repetition_penalty", options.repetition_penalty, 1e-3, 1e3);
  check("presence_penalty", options.presence_penalty, -1e3, 1e3);
  check("frequency_penalty", options.frequency_penalty, -1e3, 1e3);
  check("top_logprobs", options.top_logprobs, -1, 20);
  for (const auto& [id, bias] : options.logit_bias) check("logit_bias", bias, -100, 100);
}

LogTotal log_total(std::span<const float> logits, const kernels::Table& table) {
  const auto size = static_cast<int64_t>(logits.size());
  const int32_t first = greedy(logits, table);
  const float best = logits[static_cast<size_t>(first)];
  const float sum = table.sum_exp(logits.data(), best, size);
  return {best + std::log(sum), sum, first};
}

float log_probability(std::span<const float> logits, int32_t token, const kernels::Table& table) {
  return logits[static_cast<size_t>(token)] - log_total(logits, table).value;
}

GeneratedToken describe(std::span<const float> logits, int32_t token, int top, float total) {
  GeneratedToken result;
  result.id = token;
  result.logprob = logits[static_cast<size_t>(token)] - total;
  if (top <= 0) return result;
  for (const Candidate& candidate : best_candidates(logits, static_cast<size_t>(top))) {
    result.top_logprobs.push_back({candidate.id, candidate.logit - total});
  }
  return result;
}

GeneratedToken sample(std::span<float> logits, const SamplingOptions& options, const SamplingState& state,
                      const LogTotal& total, const kernels::Table& table) {
  const bool best = options.temperature < 1e-5;
  const auto choose = [&] {
    if (best) return greedy(logits, table);
    const auto step = state.tokens.size() + state.guesses.size() - static_cast<size_t>(state.prompt_tokens);
    return draw(logits, options, uniform(options.seed, step), table);
  };
  const bool changes = options.repetition_penalty != 1.0 || options.presence_penalty != 0 ||
                       options.frequency_penalty != 0 || !options.logit_bias.empty() || !state.banned.empty() ||
                       !state.mask.empty();
  if (!changes) return describe(logits, best ? total.best : choose(), options.top_logprobs, total.value);
  const std::vector<float> original(logits.begin(), logits.end());
  apply_penalties(logits, options, state);
  apply_limits(logits, state);
  const int32_t id = choose();
  if (logits[static_cast<size_t>(id)] == kMinusInfinity) {
    throw base::Error("INVALID_REQUEST", "no token may come next: the grammar and logit_bias together forbid all", "");
  }
  return describe(original, id, options.top_logprobs, total.value);
}

}  // namespace slipway::runtime
