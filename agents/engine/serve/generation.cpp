#include "agents/engine/serve/generation.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "agents/engine/serve/stop_matcher.h"
#include "agents/engine/serve/tool_parser.h"
#include "agents/engine/text/tokenizer.h"
#include "backend/base/error.h"

namespace slipway::serve {
namespace {

using SteadyClock = std::chrono::steady_clock;

double seconds_since(SteadyClock::time_point begin) {
  return std::chrono::duration<double>(SteadyClock::now() - begin).count();
}

// Bytes of one token as text: what is no whole character becomes U+FFFD.
std::string shown_token(const std::string& bytes) {
  std::string text;
  for (size_t i = 0; i < bytes.size();) {
    const auto lead = static_cast<unsigned char>(bytes[i]);
    const size_t length = lead < 0x80 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC2 ? 2 : 0;
    bool whole = length > 0 && i + length <= bytes.size();
    for (size_t k = 1; whole && k < length; ++k) whole = (static_cast<unsigned char>(bytes[i + k]) & 0xC0U) == 0x80U;
    text += whole ? bytes.substr(i, length) : "\xEF\xBF\xBD";
    i += whole ? length : 1;
  }
  return text;
}

int64_t count_characters(const std::string& text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; });
}

}  // namespace

struct Generation::Choice {
  Choice(size_t choice_index, const text::Tokenizer& tokenizer, const CompletionOptions& options)
      : index(choice_index),
        decoder(tokenizer, options.skip_special_tokens),
        matcher(options.stop, options.include_stop_str_in_output) {}

  size_t index;
  text::StreamDecoder decoder;
  StopMatcher matcher;
  std::optional<ToolParser> parser;
  uint64_t engine_id = 0;
  bool queued = false;
  bool finished = false;
  bool role_sent = false;
  int64_t tokens = 0;
  int64_t cached_tokens = 0;                                // of its prompt's
  double logprob = 0;                                       // of its tokens together
  double scheduled_seconds = -1, first_token_seconds = -1;  // since begin_; -1: not yet
  int64_t decoded_characters = 0;                           // of all tokens so far, for text_offset
  ChoiceResult result;                                      // what is not sent yet: all of it when not streaming
  SteadyClock::time_point last_token;
};

Generation::Generation(GenerationPlan plan, std::shared_ptr<Exchange> exchange, Generator& generator,
                       const text::Tokenizer& tokenizer, ModelMetrics& metrics, std::function<void()> done)
    : plan_(std::move(plan)),
      exchange_(std::move(exchange)),
      generator_(generator),
      tokenizer_(tokenizer),
      metrics_(metrics),
      done_(std::move(done)),
      begin_(SteadyClock::now()) {
  const auto best_of = static_cast<size_t>(plan_.options.best_of);
  for (size_t i = 0; i < plan_.prompts.size() * best_of; ++i) {
    auto choice = std::make_unique<Choice>(i, tokenizer_, plan_.options);
    choice->result.index = static_cast<int64_t>(i);
    choice->result.has_logprobs = plan_.options.logprobs;
    if (!plan_.echo.empty()) choice->result.text = plan_.echo[i / best_of];
    if (plan_.tool_format) choice->parser.emplace(*plan_.tool_format);
    choices_.push_back(std::move(choice));
  }
  open_choices_ = choices_.size();
  if (!plan_.tool_format) return;
  for (const std::string& marker : tool_markers(*plan_.tool_format)) {
    if (const auto id = tokenizer_.token_to_id(marker)) markers_[*id] = marker;
  }
}

Generation::~Generation() = default;

size_t Generation::prompt_of(const Choice& choice) const {
  return choice.index / static_cast<size_t>(plan_.options.best_of);
}

runtime::GenerationRequest Generation::request_of(size_t index) {
  const CompletionOptions& options = plan_.options;
  const auto best_of = static_cast<size_t>(options.best_of);
  const size_t prompt = index / best_of;
  runtime::GenerationRequest request;
  request.prompt = plan_.prompts[prompt];
  request.adapter = plan_.adapter;
  request.sampling = options.sampling;
  request.sampling.seed = plan_.seed + index % best_of;
  request.max_tokens = std::max<int64_t>(1, plan_.max_tokens[prompt]);  // one is computed where none is wanted
  request.min_tokens = options.min_tokens;
  request.ignore_eos = options.ignore_eos;
  request.stop_token_ids = options.stop_token_ids;
  request.priority = options.priority;
  if (!plan_.constraints.empty()) request.constraint = plan_.constraints[index];
  request.on_scheduled = [self = shared_from_this(), index] {
    const std::lock_guard lock(self->mutex_);
    self->choices_[index]->scheduled_seconds = seconds_since(self->begin_);
  };
  request.on_cached = [self = shared_from_this(), index](int64_t tokens) {
    const std::lock_guard lock(self->mutex_);
    self->choices_[index]->cached_tokens = tokens;
  };
  request.on_token = [self = shared_from_this(), index](const runtime::GeneratedToken& token) {
    return self->take_token(index, token);
  };
  request.on_finish = [self = shared_from_this(), index](runtime::FinishReason reason, const std::string& message) {
    self->take_end(index, reason, message);
  };
  if (!plan_.echo.empty() && options.logprobs) {
    request.prompt_logprobs = std::max(0, options.sampling.top_logprobs);
    request.on_prompt = [self = shared_from_this(), index](const std::vector<runtime::GeneratedToken>& tokens) {
      const std::lock_guard lock(self->mutex_);
      self->begin_with_prompt(*self->choices_[index], tokens);
    };
  }
  return request;
}

void Generation::start() {
  for (size_t i = 0; i < choices_.size(); ++i) {
    std::optional<uint64_t> late;
    try {
      // Without the lock: the engine may call back from its own thread before it returns.
      const uint64_t id = generator_.submit(request_of(i));
      const std::lock_guard lock(mutex_);
      choices_[i]->engine_id = id;
      choices_[i]->queued = true;
      if (ended_ && !choices_[i]->finished) late = id;
    } catch (const base::Error& error) {
      {
        const std::lock_guard lock(mutex_);
        fail(ApiError(error.code() == base::kNotFound ? 404 : 400, error.what(), "",
                      error.code() == base::kNotFound ? "model_not_found" : "invalid_value"));
      }
      cancel();
      return;
    }
    if (late) {
      generator_.cancel(*late);
      return;
    }
  }
  exchange_->on_abandoned([weak = weak_from_this()](Abandoned why) {
    if (const auto self = weak.lock()) self->abandon(why);
  });
}

bool Generation::take_token(size_t index, const runtime::GeneratedToken& token) {
  const std::lock_guard lock(mutex_);
  Choice& choice = *choices_[index];
  if (ended_ || choice.finished) return false;
  if (plan_.max_tokens[prompt_of(choice)] == 0) {
    finish_choice(choice, "length");
    return false;
  }
  const auto now = SteadyClock::now();
  if (choice.tokens == 0) {
    choice.first_token_seconds = seconds_since(begin_);
    metrics_.first_token(choice.first_token_seconds);
  } else {
    metrics_.next_token(std::chrono::duration<double>(now - choice.last_token).count());
  }
  choice.last_token = now;
  ++choice.tokens;
  choice.logprob += token.logprob;
  if (plan_.options.logprobs) choice.result.logprobs.push_back(describe(choice, token));
  const auto marker = markers_.find(token.id);
  const std::string text =
      marker == markers_.end() ? choice.decoder.push(token.id) : choice.decoder.flush() + marker->second;
  choice.decoded_characters += count_characters(text);
  const bool look = choice.tokens > plan_.options.min_tokens;
  emit(choice, look ? choice.matcher.push(text) : choice.matcher.pass(text), false);
  if (!choice.matcher.stopped()) return true;
  finish_choice(choice, "stop");
  return false;
}

void Generation::take_end(size_t index, runtime::FinishReason reason, const std::string& message) {
  const std::lock_guard lock(mutex_);
  Choice& choice = *choices_[index];
  if (ended_ || choice.finished) return;
  if (reason == runtime::FinishReason::kError) {
    fail(ApiError(500, "the engine failed: " + message));
    return;
  }
  if (reason == runtime::FinishReason::kCancelled) {
    fail(ApiError(503, "the server is stopping"));
    return;
  }
  // An end token is not handed over, but it was generated: it counts, as it does for OpenAI.
  if (reason == runtime::FinishReason::kStop) ++choice.tokens;
  std::string rest = choice.matcher.push(choice.decoder.flush());
  if (!choice.matcher.stopped()) rest += choice.matcher.flush();
  emit(choice, std::move(rest), false);
  finish_choice(choice, reason == runtime::FinishReason::kLength && !choice.matcher.stopped() ? "length" : "stop");
}

void Generation::abandon(Abandoned why) {
  {
    const std::lock_guard lock(mutex_);
    if (!ended_ && why == Abandoned::kTimedOut) fail(time_out_error());
    if (!ended_) {
      ended_ = true;
      metrics_.finished({"abort", 0, 0, seconds_since(begin_)});
      note("abort");
      done_();
    }
  }
  cancel();
}

// Whatever still runs shall end.
void Generation::cancel() {
  std::vector<uint64_t> running;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& choice : choices_) {
      if (choice->queued && !choice->finished) running.push_back(choice->engine_id);
    }
  }
  for (const uint64_t id : running) generator_.cancel(id);
}

void Generation::emit(Choice& choice, std::string text, bool last) {
  if (choice.parser) {
    choice.parser->push(text, choice.result.text, choice.result.calls);
  } else {
    choice.result.text += text;
  }
  if (!plan_.options.stream) return;
  if (choice.result.text.empty() && choice.result.calls.empty() && !last) return;
  begin_stream();
  if (plan_.head.kind == ResponseKind::kChat && !choice.role_sent) {
    ChoiceResult role;
    role.index = choice.result.index;
    write_chunk(choice, role, true);
    choice.role_sent = true;
  }
  write_chunk(choice, choice.result, false);
  choice.result.text.clear();
  choice.result.calls.clear();
  choice.result.logprobs.clear();
}

void Generation::write_chunk(const Choice& choice, const ChoiceResult& piece, bool first) {
  exchange_->write(stream_chunk(plan_.head, piece, first, usage_of(choice)));
}

// Of one choice so far.
Usage Generation::usage_of(const Choice& choice) const {
  return {static_cast<int64_t>(plan_.prompts[prompt_of(choice)].size()), choice.tokens, choice.cached_tokens};
}

void Generation::finish_choice(Choice& choice, const std::string& reason) {
  choice.finished = true;
  choice.result.finish_reason = reason;
  if (choice.parser) {
    choice.parser->finish(choice.result.text, choice.result.calls);
    if (reason == "stop" && choice.parser->calls() > 0 && !plan_.named_tool) choice.result.finish_reason = "tool_calls";
  }
  if (plan_.options.stream) emit(choice, "", true);
  metrics_.finished({reason, usage_of(choice).prompt_tokens, choice.tokens, seconds_since(begin_),
                     choice.scheduled_seconds, choice.first_token_seconds});
  if (--open_choices_ == 0) finish_all();
}

// The n most likely by token of each prompt's choices, the best first where some are left out.
std::vector<ChoiceResult> Generation::best_results() {
  const auto n = static_cast<size_t>(plan_.options.n), best_of = static_cast<size_t>(plan_.options.best_of);
  const auto mean = [](const std::unique_ptr<Choice>& choice) {
    return choice->tokens > 0 ? choice->logprob / static_cast<double>(choice->tokens) : 0.0;
  };
  std::vector<ChoiceResult> results;
  for (size_t first = 0; first < choices_.size(); first += best_of) {
    const auto begin = choices_.begin() + static_cast<std::ptrdiff_t>(first);
    if (n < best_of) {
      std::stable_sort(begin, begin + static_cast<std::ptrdiff_t>(best_of),
                       [&](const auto& a, const auto& b) { return mean(a) > mean(b); });
    }
    for (size_t i = 0; i < n; ++i) {
      results.push_back(std::move(choices_[first + i]->result));
      results.back().index = static_cast<int64_t>(results.size()) - 1;
    }
  }
  return results;
}

void Generation::finish_all() {
  Usage usage;
  std::string reasons;
  int64_t longest = 0;
  for (const auto& choice : choices_) {
    longest = std::max(longest, choice->tokens);
    // A prompt counts once, however many answers it gets.
    if (choice->index % static_cast<size_t>(plan_.options.best_of) == 0) {
      usage.prompt_tokens += usage_of(*choice).prompt_tokens;
      usage.cached_tokens += choice->cached_tokens;
    }
    usage.completion_tokens += choice->tokens;
    if (choice->index < 4) reasons += (reasons.empty() ? "" : ",") + choice->result.finish_reason;
  }
  metrics_.request_finished(plan_.options.n, plan_.options.max_tokens.value_or(0), longest);
  note(reasons);
  ended_ = true;
  if (plan_.options.stream) {
    begin_stream();
    if (plan_.head.include_usage) exchange_->write(stream_usage(plan_.head, usage));
    exchange_->write(kStreamDone);
    exchange_->end_stream();
  } else {
    HttpResponse response;
    response.body = whole_body(plan_.head, best_results(), usage);
    exchange_->respond(std::move(response));
  }
  done_();
}

void Generation::fail(const ApiError& error) {
  if (ended_) return;
  ended_ = true;
  metrics_.finished({"error", 0, 0, seconds_since(begin_)});
  note("error");
  if (streaming_) {
    exchange_->write(stream_error(error));
    exchange_->write(kStreamDone);
    exchange_->end_stream();
  } else {
    exchange_->respond(error_response(error));
  }
  done_();
}

void Generation::note(const std::string& finish) {
  AccessNotes notes;
  notes.model = plan_.head.model;
  notes.prompt_tokens = notes.completion_tokens = 0;
  for (const auto& prompt : plan_.prompts) notes.prompt_tokens += static_cast<int64_t>(prompt.size());
  for (const auto& choice : choices_) notes.completion_tokens += choice->tokens;
  for (const auto& choice : choices_) {
    const double seconds = choice->first_token_seconds;
    if (seconds >= 0 && (notes.first_token_seconds < 0 || seconds < notes.first_token_seconds)) {
      notes.first_token_seconds = seconds;
    }
  }
  notes.finish = finish;
  exchange_->note(std::move(notes));
}

// The prompt that was asked for again, with the log-probabilities of its tokens. With mutex_ held.
void Generation::begin_with_prompt(Choice& choice, const std::vector<runtime::GeneratedToken>& tokens) {
  text::StreamDecoder decoder(tokenizer_, plan_.options.skip_special_tokens);
  for (size_t i = 0; i < tokens.size(); ++i) {
    choice.result.logprobs.push_back(describe(choice, tokens[i]));
    choice.result.logprobs.back().known = i > 0;
    choice.decoded_characters += count_characters(decoder.push(tokens[i].id));
  }
}

void Generation::begin_stream() {
  if (streaming_) return;
  streaming_ = true;
  exchange_->begin_stream("text/event-stream; charset=utf-8");
}

TokenLogprobs Generation::describe(const Choice& choice, const runtime::GeneratedToken& token) const {
  const auto entry = [this](int32_t id, float logprob) {
    const std::string bytes = tokenizer_.token_bytes(id);
    return LogprobEntry{shown_token(bytes), bytes, logprob};
  };
  TokenLogprobs result;
  result.chosen = entry(token.id, token.logprob);
  for (const runtime::TokenLogprob& other : token.top_logprobs) result.top.push_back(entry(other.id, other.logprob));
  result.text_offset = choice.decoded_characters;
  return result;
}

}  // namespace slipway::serve
