// The inference engine: one base model, many adapters, many requests at once. serve/ feeds it; eval/ scores with it.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agents/engine/model/architecture.h"

namespace slipway::runtime {

// kInt8 and kInt4 are quantised while loading.
enum class WeightType { kF32, kBF16, kInt8, kInt4 };

// As specs and reports spell it.
std::string weight_type_name(WeightType type);

// The type for a spec's dtype: a name, or "auto": bf16 for a model whose weights are stored so, else f32. Throws
// base::Error UNSUPPORTED for another name, and what opening the model throws.
WeightType choose_weight_type(const std::string& dtype, const std::filesystem::path& model);

struct EngineOptions {
  WeightType weight_type = WeightType::kF32;
  int threads = 0;            // 0: as many as the machine has cores
  int64_t max_model_len = 0;  // 0: the model's own limit, at most 8,192
  int64_t max_num_seqs = 64;
  int64_t kv_cache_tokens = 0;  // 0: enough for max_num_seqs × 1,024, at least one full sequence
};

struct SamplingOptions {
  double temperature = 1.0;  // 0: greedy
  double top_p = 1.0;
  int64_t top_k = 0;  // 0: all
  double min_p = 0.0;
  double repetition_penalty = 1.0;
  double presence_penalty = 0.0;
  double frequency_penalty = 0.0;
  uint64_t seed = 0;
  int top_logprobs = -1;  // -1: none; 0 to 20
};

struct TokenLogprob {
  int32_t id = 0;
  float logprob = 0;
};

struct GeneratedToken {
  int32_t id = 0;
  float logprob = 0;                       // natural log, under the model's own distribution
  std::vector<TokenLogprob> top_logprobs;  // best first
};

enum class FinishReason { kStop, kLength, kCancelled, kError };

struct GenerationRequest {
  std::vector<int32_t> prompt;
  std::string adapter;  // empty: the base model
  SamplingOptions sampling;
  int64_t max_tokens = 0;  // 0: up to the model's length
  int64_t min_tokens = 0;
  bool ignore_eos = false;
  std::vector<int32_t> stop_token_ids;  // beside the model's own end tokens

  // Both are called on the engine's thread and must not block; they may call submit() and cancel(). An end token is not
  // given to on_token: it finishes the request with kStop. A false return ends the request with kStop too (a stop
  // string, or the client left). on_finish comes exactly once, last.
  std::function<bool(const GeneratedToken&)> on_token;
  std::function<void(FinishReason, const std::string& message)> on_finish;
};

struct EngineStats {
  int64_t running = 0, waiting = 0;
  int64_t prompt_tokens = 0, generated_tokens = 0;  // running totals
  double kv_cache_usage = 0;                        // 0 to 1
};

class Engine {
 public:
  // Loads the model (Hugging Face folder or .gguf). Throws base::Error.
  Engine(const std::filesystem::path& model, const EngineOptions& options);
  ~Engine();  // cancels what runs

  const model::Architecture& architecture() const;
  int64_t max_model_len() const;

  // Any thread. Throws base::Error NOT_FOUND, INVALID_MODEL (shapes that do not fit the base).
  void load_adapter(const std::string& name, const std::filesystem::path& folder);
  void unload_adapter(const std::string& name);
  std::vector<std::string> adapters() const;

  // Queues a request; any thread. Returns its id. Throws base::Error INVALID_REQUEST for a prompt that is empty, too
  // long, or holds ids outside the vocabulary, and for sampling options out of range; NOT_FOUND for an adapter that is
  // not loaded. Its output depends on the request alone, not on what else runs beside it.
  uint64_t submit(GenerationRequest request);
  void cancel(uint64_t id);
  EngineStats stats() const;

  // Log-probability of each token given those before it: result[i] belongs to tokens[i + 1]. Blocks. For evaluation.
  std::vector<float> score(const std::vector<int32_t>& tokens, const std::string& adapter);

  // Logits of the last position (or of all: rows × vocab_size). Blocks. For parity tests.
  std::vector<float> logits(const std::vector<int32_t>& tokens, const std::string& adapter, bool all_positions);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipway::runtime
