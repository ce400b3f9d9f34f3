// The inference engine: one base model, many adapters, many requests at once. serve/ feeds it; eval/ scores with it.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agents/engine/model/architecture.h"
#include "agents/engine/runtime/constraint.h"

namespace slipway::runtime {

// kInt8 and kInt4 are quantised while loading.
enum class WeightType { kF32, kBF16, kInt8, kInt4 };

// As specs and reports spell it.
std::string weight_type_name(WeightType type);

// The type for a spec's dtype: a name, or "auto": bf16 for a model whose weights are stored so, else f32. Throws
// base::Error UNSUPPORTED for another name, and what opening the model throws.
WeightType choose_weight_type(const std::string& dtype, const std::filesystem::path& model);

// What the cache of keys and values holds. kAuto: f32 beside f32 weights, else bf16. kInt8 takes half of that, with a
// scale for each key and each value.
enum class CacheType { kAuto, kF32, kBF16, kInt8 };

// Throws base::Error UNSUPPORTED for a name that is none of auto, f32, bf16 and int8.
CacheType choose_cache_type(const std::string& dtype);

struct EngineOptions {
  WeightType weight_type = WeightType::kF32;
  CacheType cache_type = CacheType::kAuto;
  int threads = 0;            // 0: as many as the machine has cores
  int64_t max_model_len = 0;  // 0: the model's own limit, at most 8,192
  int64_t max_num_seqs = 64;
  int64_t kv_cache_tokens = 0;  // 0: enough for max_num_seqs × 1,024, at least one full sequence
  bool prefix_caching = true;   // requests with the same beginning share its keys and values
  // Most prompt tokens in a step in which some stream waits for its next token: what a prompt may delay streams by.
  // Tokens far into a long prompt count for more, by what attention over all before them costs.
  int64_t prompt_tokens_beside = 64;
  int64_t speculative_tokens = 0;  // most tokens guessed from the sequence itself per step; the output is the same
  int64_t adapters_in_memory = 32;
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
  int top_logprobs = -1;                              // -1: none; 0 to 20
  std::vector<std::pair<int32_t, float>> logit_bias;  // token, what is added to its logit: -100 to 100
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
  std::vector<int32_t> stop_token_ids;          // beside the model's own end tokens
  int64_t priority = 0;                         // the lowest goes first
  std::shared_ptr<TokenConstraint> constraint;  // null: free
  int prompt_logprobs = -1;                     // as top_logprobs, for the prompt's own tokens

  // All are called on the engine's thread and must not block; they may call submit() and cancel(). An end token is not
  // given to on_token: it finishes the request with kStop. A false return ends the request with kStop too (a stop
  // string, or the client left). on_finish comes exactly once, last.
  std::function<bool(const GeneratedToken&)> on_token;
  // When it first leaves the queue.
  std::function<void()> on_scheduled;
  // Before the first token: how many of the prompt's tokens were found in the prefix cache.
  std::function<void(int64_t)> on_cached;
  // Before the first token, when prompt_logprobs asks for it: one entry per token of the prompt, the first without a
  // probability. Then the prompt is computed in full, whatever the cache holds.
  std::function<void(const std::vector<GeneratedToken>&)> on_prompt;
  std::function<void(FinishReason, const std::string& message)> on_finish;
};

// The final hidden state of the prompt's last token, after the last norm.
struct EmbeddingRequest {
  std::vector<int32_t> prompt;
  std::string adapter;
  int64_t priority = 0;
  // On the engine's thread, once: the state (hidden_size values) with kStop, else an empty one and why.
  std::function<void(FinishReason, const std::string& message, std::vector<float> state)> on_finish;
};

struct EngineStats {
  int64_t running = 0, waiting = 0;
  double kv_cache_usage = 0;    // of running sequences: 0 to 1
  int64_t kv_cache_tokens = 0;  // that it holds in all
  int64_t max_model_len = 0, max_num_seqs = 0;
  int64_t weight_bits = 0;  // 32 f32, 16 bf16, 8 int8, 4 int4
  int64_t adapters = 0, adapters_in_memory = 0;
  // Running totals.
  int64_t prompt_tokens = 0, generated_tokens = 0;
  int64_t prefix_queries = 0, prefix_hits = 0;  // prompt tokens looked for, and found, in the prefix cache
  int64_t preemptions = 0;
  int64_t draft_tokens = 0, accepted_draft_tokens = 0;
};

class Engine {
 public:
  // Loads the model (Hugging Face folder or .gguf). Throws base::Error.
  Engine(const std::filesystem::path& model, const EngineOptions& options);
  ~Engine();  // cancels what runs

  const model::Architecture& architecture() const;
  int64_t max_model_len() const;

  // Any thread. Throws base::Error NOT_FOUND, INVALID_MODEL (shapes that do not fit the base). Any number may be
  // loaded: adapters_in_memory of them are, the others are read again from their folders when a request needs them.
  // task_id: which of a multitask adapter's prompts; else 0.
  void load_adapter(const std::string& name, const std::filesystem::path& folder, int64_t task_id = 0);
  void unload_adapter(const std::string& name);
  std::vector<std::string> adapters() const;
  // How many tokens prompt tuning puts before each prompt: they take part of max_model_len, and no result of a request
  // shows or counts them. 0 of other adapters and of the base model (an empty name). Throws base::Error NOT_FOUND.
  int64_t virtual_tokens(const std::string& adapter) const;

  // Queues a request; any thread. Returns its id. Throws base::Error INVALID_REQUEST for a prompt that is empty, too
  // long, or holds ids outside the vocabulary, and for sampling options out of range; NOT_FOUND for an adapter that is
  // not loaded. Its output depends on the request alone, not on what else runs beside it.
  uint64_t submit(GenerationRequest request);
  uint64_t submit(EmbeddingRequest request);
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
