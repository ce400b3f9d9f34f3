#include "agents/engine/train/publishing/parity.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "agents/engine/runtime/engine.h"
#include "backend/base/error.h"

namespace slipway::train {

namespace {

// For f32 sums in another order (measured: 2e-6 on SmolLM2-135M), and for weights rounded to 16 bits.
constexpr double kToleranceF32 = 1e-4;
constexpr double kToleranceHalf = 3e-2;

}  // namespace

std::vector<std::vector<int64_t>> parity_prompts(const Documents& documents, size_t count, int64_t length) {
  std::vector<std::vector<int64_t>> prompts;
  const auto available = static_cast<size_t>(documents.count());
  for (size_t i = 0; i < std::min(count, available); ++i) {
    const size_t document = i * available / std::min(count, available);
    const std::span<const int32_t> tokens = documents.tokens(static_cast<int64_t>(document));
    const std::span<const int32_t> beginning = tokens.first(std::min(static_cast<size_t>(length), tokens.size()));
    prompts.emplace_back(beginning.begin(), beginning.end());
  }
  return prompts;
}

TrainedLogits trained_logits(Decoder& decoder, std::vector<std::vector<int64_t>> prompts) {
  TrainedLogits trained{std::move(prompts), {}, decoder.virtual_token_count()};
  const int64_t most = decoder.architecture().max_position_embeddings - trained.virtual_tokens - 1;
  for (std::vector<int64_t>& prompt : trained.prompts) {
    prompt.resize(static_cast<size_t>(std::clamp<int64_t>(most, 1, static_cast<int64_t>(prompt.size()))));
    trained.logits.push_back(decoder.logits(prompt, static_cast<int64_t>(prompt.size())));
  }
  return trained;
}

double logit_difference(const TrainedLogits& trained, const std::filesystem::path& model,
                        const std::filesystem::path& adapter, int threads) {
  // A GGUF file of a model with a window may have a shorter context.
  const int64_t context = model::load_architecture(model).max_position_embeddings - trained.virtual_tokens;
  int64_t longest = 1;
  for (const auto& prompt : trained.prompts) longest = std::max(longest, static_cast<int64_t>(prompt.size()));
  runtime::EngineOptions options;
  options.weight_type = runtime::WeightType::kF32;
  options.threads = threads;
  options.max_model_len = trained.virtual_tokens + std::min(longest + 1, context);
  options.max_num_seqs = 1;
  runtime::Engine engine(model, options);
  if (!adapter.empty()) engine.load_adapter("trained", adapter);
  double worst = 0;
  for (size_t i = 0; i < trained.prompts.size(); ++i) {
    const std::vector<int64_t>& prompt = trained.prompts[i];
    const std::vector<float>& ours = trained.logits[i];
    const auto tokens = std::clamp<int64_t>(context - 1, 1, static_cast<int64_t>(prompt.size()));
    const std::vector<float> served = engine.logits(std::vector<int32_t>(prompt.begin(), prompt.begin() + tokens),
                                                    adapter.empty() ? "" : "trained", true);
    // What comes later changes no logits of what was before.
    if (served.size() * prompt.size() != ours.size() * static_cast<size_t>(tokens)) return HUGE_VAL;
    double difference = 0, size = 0;
    for (size_t k = 0; k < served.size(); ++k) {
      const double delta = static_cast<double>(ours[k]) - served[k];
      difference += delta * delta;
      size += static_cast<double>(ours[k]) * ours[k];
    }
    const double relative = std::sqrt(difference / std::max(size, 1e-30));
    worst = std::isfinite(relative) ? std::max(worst, relative) : HUGE_VAL;
  }
  return worst;
}

void require_parity(double difference, bool half_precision, const std::string& what) {
  const double tolerance = half_precision ? kToleranceHalf : kToleranceF32;
  if (difference <= tolerance) return;
  throw base::Error("EXPORT_MISMATCH",
                    what + " gives other logits when it is served than in training: they differ by " +
                        std::to_string(difference) + " of their size, more than " + std::to_string(tolerance) +
                        "; nothing was published",
                    "report this with the spec and events.jsonl; the checkpoints keep what was trained");
}

}  // namespace slipway::train
