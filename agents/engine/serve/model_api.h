// Answers requests from a base model that is in memory: completions, embeddings, tokens. Used by api.cpp.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "agents/engine/serve/generation.h"
#include "agents/engine/serve/http.h"
#include "agents/engine/serve/metrics.h"
#include "agents/engine/serve/model_list.h"
#include "agents/engine/serve/model_pool.h"
#include "agents/engine/serve/openai_request.h"
#include "backend/base/clock.h"

namespace slipway::serve {

// Places in the queue, given back when the last copy goes.
using Places = std::shared_ptr<void>;

// One request's view of its model. Every method answers now, or later from the engine's thread, and throws ApiError and
// base::Error before that.
class ModelApi {
 public:
  // `name`: as the answer shall say it.
  ModelApi(ModelLease model, ModelTarget target, std::string name, ModelMetrics& metrics, const base::Clock& clock)
      : model_(std::move(model)),
        target_(std::move(target)),
        name_(std::move(name)),
        metrics_(metrics),
        clock_(clock) {}

  void chat(const std::shared_ptr<Exchange>& exchange, const ChatRequest& request, Places places) const;
  void text(const std::shared_ptr<Exchange>& exchange, const TextRequest& request, Places places) const;
  void embeddings(const std::shared_ptr<Exchange>& exchange, const EmbeddingsRequest& request, Places places) const;
  HttpResponse tokenize(const TokenizeRequest& request) const;
  HttpResponse detokenize(const DetokenizeRequest& request) const;

 private:
  // `plan`: with prompts, echo and tools; the rest is filled in.
  void generate(const std::shared_ptr<Exchange>& exchange, ResponseKind kind, const CompletionOptions& options,
                GenerationPlan plan, const std::string& prompt_field, Places places) const;
  void check_lengths(ResponseKind kind, const CompletionOptions& options, const std::string& prompt_field,
                     GenerationPlan& plan) const;
  void check_tokens(const CompletionOptions& options) const;
  // What the model takes: its length without what an adapter's virtual tokens take of it.
  int64_t context_length() const;
  [[noreturn]] void fail_too_long(const std::string& what, const std::string& field) const;
  void constrain(GenerationPlan& plan, const OutputFormat& format, int64_t choices) const;
  std::vector<int32_t> prompt_tokens(const Prompt& prompt, bool add_special, const std::string& field) const;
  std::vector<int32_t> encode(const std::string& text, bool add_special, const std::string& field) const;

  const ModelLease model_;
  const ModelTarget target_;
  const std::string name_;
  ModelMetrics& metrics_;
  const base::Clock& clock_;
};

}  // namespace slipway::serve
