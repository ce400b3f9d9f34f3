// The routes of slipway-serve: OpenAI's API, vLLM's additions, health and metrics. Called by the HTTP server's workers.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>

#include "agents/engine/serve/chat_prompt.h"
#include "agents/engine/serve/generation.h"
#include "agents/engine/serve/generator.h"
#include "agents/engine/serve/http.h"
#include "agents/engine/serve/metrics.h"
#include "agents/engine/serve/model_list.h"
#include "agents/engine/serve/openai_request.h"
#include "agents/engine/serve/openai_response.h"

namespace slipway::text {
class Tokenizer;
}

namespace slipway::serve {

struct ApiOptions {
  std::string api_key;                 // empty: none is asked for
  int64_t max_in_flight = 320;         // choices running or waiting; more get 429
  bool runtime_adapters = true;        // clients may load and unload
  std::filesystem::path adapter_root;  // relative adapter paths are relative to it
};

class Api {
 public:
  Api(ApiOptions options, ModelList& models, Generator& generator, const text::Tokenizer& tokenizer, Metrics& metrics,
      const base::Clock& clock);
  ~Api();

  // Answers now, or later from the engine's thread. Any thread.
  void handle(const std::shared_ptr<Exchange>& exchange);

  // Choices that run or wait.
  int64_t in_flight() const { return *in_flight_; }

 private:
  HttpResponse answer(const HttpRequest& request);
  void check_key(const HttpRequest& request) const;

  void chat(const std::shared_ptr<Exchange>& exchange);
  void text(const std::shared_ptr<Exchange>& exchange);
  void embeddings(const std::shared_ptr<Exchange>& exchange);
  // `plan`: with prompts, echo and tools; the rest is filled in.
  void generate(const std::shared_ptr<Exchange>& exchange, ResponseKind kind, const CompletionOptions& options,
                GenerationPlan plan, const std::string& prompt_field);
  void constrain(GenerationPlan& plan, const OutputFormat& format, int64_t choices) const;

  HttpResponse list_models() const;
  HttpResponse show_model(const std::string& name) const;
  HttpResponse load_adapter(const HttpRequest& request);
  HttpResponse unload_adapter(const HttpRequest& request);
  HttpResponse tokenize(const HttpRequest& request) const;
  HttpResponse detokenize(const HttpRequest& request) const;

  // Counts `choices` among those in flight; the result gives them back. Throws ApiError 429 when the queue is full.
  std::function<void()> take_places(int64_t choices);
  std::vector<int32_t> prompt_tokens(const Prompt& prompt, bool add_special, const std::string& field) const;
  std::vector<int32_t> encode(const std::string& text, bool add_special, const std::string& field) const;

  const ApiOptions options_;
  ModelList& models_;
  Generator& generator_;
  const text::Tokenizer& tokenizer_;
  Metrics& metrics_;
  const base::Clock& clock_;
  const ChatPrompt chat_prompt_;
  const std::shared_ptr<std::atomic<int64_t>> in_flight_;
};

}  // namespace slipway::serve
