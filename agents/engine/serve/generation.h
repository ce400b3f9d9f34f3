// One completion request under way: its choices, from the engine's tokens to the client's text. Made by api.cpp.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "agents/engine/serve/generator.h"
#include "agents/engine/serve/http.h"
#include "agents/engine/serve/metrics.h"
#include "agents/engine/serve/openai_request.h"
#include "agents/engine/serve/openai_response.h"
#include "agents/engine/serve/tools.h"

namespace slipway::serve {

// All that a request needs, read from its body and checked.
struct GenerationPlan {
  ResponseHead head;
  CompletionOptions options;
  std::string adapter;                        // empty: the base model
  std::vector<std::vector<int32_t>> prompts;  // best_of choices each
  std::vector<std::string> echo;              // text before each answer, as prompts; or empty
  std::vector<int64_t> max_tokens;            // as prompts; 0: nothing is generated
  uint64_t seed = 0;
  std::vector<std::shared_ptr<runtime::TokenConstraint>> constraints;  // one per choice, or none
  std::optional<ToolFormat> tool_format;                               // of the calls to look for; none: no tools
  bool named_tool = false;  // the request names the function: its call ends an answer as any other text does
};

// Lives until its last choice has finished: the engine's callbacks hold it. Tokens come on the engine's thread; the
// client's leaving on the server's.
class Generation : public std::enable_shared_from_this<Generation> {
 public:
  // `done` is called once, at the end.
  Generation(GenerationPlan plan, std::shared_ptr<Exchange> exchange, Generator& generator,
             const text::Tokenizer& tokenizer, ModelMetrics& metrics, std::function<void()> done);
  ~Generation();

  // Queues every choice. Answers the exchange itself, with errors too.
  void start();

 private:
  struct Choice;

  bool take_token(size_t index, const runtime::GeneratedToken& token);
  void take_end(size_t index, runtime::FinishReason reason, const std::string& message);
  void abandon(Abandoned why);
  void cancel();
  runtime::GenerationRequest request_of(size_t index);

  // The rest is called with mutex_ held.
  size_t prompt_of(const Choice& choice) const;
  Usage usage_of(const Choice& choice) const;
  std::vector<ChoiceResult> best_results();
  void emit(Choice& choice, std::string text, bool last);
  void finish_choice(Choice& choice, const std::string& reason);
  void finish_all();
  void fail(const ApiError& error);
  void begin_stream();
  void write_chunk(const Choice& choice, const ChoiceResult& piece, bool first);
  void begin_with_prompt(Choice& choice, const std::vector<runtime::GeneratedToken>& tokens);
  void note(const std::string& finish);
  TokenLogprobs describe(const Choice& choice, const runtime::GeneratedToken& token) const;

  GenerationPlan plan_;
  const std::shared_ptr<Exchange> exchange_;
  Generator& generator_;
  const text::Tokenizer& tokenizer_;
  ModelMetrics& metrics_;
  std::function<void()> done_;
  const std::chrono::steady_clock::time_point begin_;

  std::mutex mutex_;
  std::map<int32_t, std::string> markers_;  // special tokens that belong to tool calls, with their texts
  std::vector<std::unique_ptr<Choice>> choices_;
  size_t open_choices_ = 0;
  bool streaming_ = false;  // the stream's head is out
  bool ended_ = false;      // answered, failed, or left by the client
};

}  // namespace slipway::serve
