#include "agents/engine/runtime/engine.h"

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <future>
#include <mutex>
#include <new>
#include <thread>

#include "agents/engine/kernels/kernels.h"
#include "agents/engine/runtime/adapter_store.h"
#include "agents/engine/runtime/decoder.h"
#include "agents/engine/runtime/engine_options.h"
#include "agents/engine/runtime/model_runner.h"
#include "agents/engine/runtime/sampler.h"
#include "agents/engine/runtime/scheduler.h"
#include "agents/engine/runtime/thread_pool.h"
#include "backend/base/error.h"

namespace slipway::runtime {
namespace {

constexpr char kInvalidRequest[] = "INVALID_REQUEST";

}  // namespace

class Engine::Impl {
 public:
  Impl(const std::filesystem::path& model, const EngineOptions& given)
      : options_(checked(given)),
        architecture_(model::load_architecture(model)),
        max_length_(checked_max_length(options_, architecture_)),
        table_(*kernels::table(kernels::best_level())),
        pool_(options_.threads),
        decoder_(model, architecture_, weight_format(options_.weight_type), max_length_, pool_, table_),
        cache_(architecture_.num_hidden_layers, architecture_.num_key_value_heads, architecture_.head_dim,
               cache_pages(options_, max_length_), cache_format(options_)),
        pages_(cache_, options_.prefix_caching),
        adapters_(architecture_, options_.adapters_in_memory, max_length_, [this] { wake(); }),
        scheduler_(pages_, adapters_, scheduler_options(options_, architecture_)),
        runner_(architecture_, decoder_, cache_, pool_, table_),
        thread_([this] { loop(); }) {}

  ~Impl() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }

  const model::Architecture& architecture() const { return architecture_; }
  int64_t max_length() const { return max_length_; }

  AdapterStore& adapters() { return adapters_; }

  uint64_t submit(GenerationRequest request) {
    auto sequence = new_sequence(request.prompt, request.adapter, 1);
    check_options(request.sampling);
    for (const auto& [id, bias] : request.sampling.logit_bias) check_token(id, "logit_bias");
    if (request.max_tokens < 0 || request.min_tokens < 0) {
      throw base::Error(kInvalidRequest, "max_tokens or min_tokens is negative", "give 0 or more");
    }
    if (request.prompt_logprobs < -1 || request.prompt_logprobs > 20) {
      throw base::Error(kInvalidRequest, "prompt_logprobs is out of range", "give 0 to 20, or -1 for none");
    }
    if (request.prompt_logprobs >= 0) sequence->prompt_results.resize(request.prompt.size());
    const int64_t room = max_length_ - sequence->prompt_tokens;
    sequence->max_length =
        sequence->prompt_tokens + (request.max_tokens > 0 ? std::min(request.max_tokens, room) : room);
    sequence->end_tokens = request.stop_token_ids;
    if (!request.ignore_eos) {
      sequence->end_tokens.insert(sequence->end_tokens.end(), architecture_.eos_token_ids.begin(),
                                  architecture_.eos_token_ids.end());
    }
    std::sort(sequence->end_tokens.begin(), sequence->end_tokens.end());
    std::erase_if(sequence->end_tokens, [&](int32_t id) { return id < 0 || id >= architecture_.vocab_size; });
    // So that the token loop allocates nothing.
    sequence->tokens.reserve(static_cast<size_t>(sequence->max_length));
    sequence->pages.reserve(static_cast<size_t>(KvCache::pages_for(sequence->max_length) + 1));
    sequence->request = std::move(request);
    return enqueue(std::move(sequence));
  }

  uint64_t submit(EmbeddingRequest request) {
    auto sequence = new_sequence(request.prompt, request.adapter, 0);
    sequence->max_length = sequence->prompt_tokens;
    auto state = std::make_shared<std::vector<float>>();
    sequence->on_state = [state](std::vector<float> given) { *state = std::move(given); };
    sequence->request.priority = request.priority;
    sequence->request.on_finish = [state, finish = std::move(request.on_finish)](FinishReason reason,
                                                                                 const std::string& message) {
      finish(reason, message, std::move(*state));
    };
    return enqueue(std::move(sequence));
  }

  void cancel(uint64_t id) {
    const std::lock_guard lock(mutex_);
    cancelled_.push_back(id);
    wake_.notify_one();
  }

  EngineStats stats() const {
    const std::lock_guard lock(mutex_);
    EngineStats stats = stats_;
    stats.waiting += static_cast<int64_t>(incoming_.size());
    stats.adapters = static_cast<int64_t>(adapters_.names().size());
    stats.adapters_in_memory = adapters_.in_memory();
    stats.kv_cache_tokens = cache_.pages() * kernels::kPageTokens;
    stats.max_model_len = max_length_;
    stats.max_num_seqs = options_.max_num_seqs;
    stats.weight_bits = weight_bits(options_.weight_type);
    return stats;
  }

  // Runs `tokens` through the model and gives on_logits the logits of each position from first_wanted on.
  void evaluate(const std::vector<int32_t>& tokens, const std::string& adapter, int64_t first_wanted,
                std::function<void(int64_t, const float*)> on_logits) {
    auto sequence = new_sequence(tokens, adapter, 0);
    const int64_t before = sequence->virtual_tokens;
    sequence->max_length = sequence->prompt_tokens;
    sequence->first_wanted = before + first_wanted;
    sequence->on_logits = [before, use = std::move(on_logits)](int64_t position, const float* logits) {
      use(position - before, logits);
    };
    std::promise<void> done;
    sequence->request.on_finish = [&done](FinishReason reason, const std::string& message) {
      if (reason == FinishReason::kStop) {
        done.set_value();
      } else {
        done.set_exception(std::make_exception_ptr(
            base::Error("ENGINE_FAILED", message.empty() ? "the engine was stopped in mid-work" : message, "")));
      }
    };
    enqueue(std::move(sequence));
    done.get_future().get();
  }

  const kernels::Table& table() const { return table_; }

 private:
  void check_tokens(const std::vector<int32_t>& tokens, int64_t most, int64_t virtual_tokens) const {
    if (tokens.empty()) throw base::Error(kInvalidRequest, "the prompt is empty", "give at least one token");
    if (static_cast<int64_t>(tokens.size()) > most) {
      throw base::Error(
          kInvalidRequest,
          "the prompt has " + std::to_string(tokens.size()) + " tokens, this model takes at most " +
              std::to_string(most) + " of its " + std::to_string(max_length_) +
              (virtual_tokens > 0 ? "; the adapter's virtual tokens take " + std::to_string(virtual_tokens) : ""),
          "shorten the prompt, or start the server with a larger max_model_len");
    }
    for (const int32_t id : tokens) check_token(id, "the prompt");
  }

  void check_token(int32_t id, const std::string& where) const {
    if (id >= 0 && id < architecture_.vocab_size) return;
    throw base::Error(kInvalidRequest,
                      where + " holds token " + std::to_string(id) + ", the vocabulary has " +
                          std::to_string(architecture_.vocab_size),
                      "use the tokenizer that came with the model");
  }

  // With room for `answer` tokens more.
  std::unique_ptr<Sequence> new_sequence(const std::vector<int32_t>& prompt, const std::string& adapter,
                                         int64_t answer) const {
    auto sequence = std::make_unique<Sequence>();
    if (!adapter.empty()) sequence->adapter = adapters_.find(adapter);
    const int64_t before = sequence->adapter ? sequence->adapter->virtual_tokens : 0;
    check_tokens(prompt, max_length_ - before - answer, before);
    for (int64_t i = 0; i < before; ++i) sequence->tokens.push_back(static_cast<int32_t>(-1 - i));
    sequence->tokens.insert(sequence->tokens.end(), prompt.begin(), prompt.end());
    sequence->virtual_tokens = before;
    sequence->prompt_tokens = static_cast<int64_t>(sequence->tokens.size());
    return sequence;
  }

  void wake() {
    const std::lock_guard lock(mutex_);
    adapter_came_ = true;
    wake_.notify_one();
  }

  uint64_t enqueue(std::unique_ptr<Sequence> sequence) {
    const std::lock_guard lock(mutex_);
    sequence->id = ++last_id_;
    incoming_.push_back(std::move(sequence));
    wake_.notify_one();
    return last_id_;
  }

  // From here on: the engine's thread.

  void loop() {
    while (take_in()) {
      try {
        step();
      } catch (const std::bad_alloc&) {
        fail_all("the engine ran out of memory; lower max_num_seqs or max_model_len");
      } catch (const std::exception& error) {
        fail_all(error.what());
      }
      publish();
    }
    for (const uint64_t id : scheduler_.ids()) finish(id, FinishReason::kCancelled, "the engine stops");
    publish();
  }

  // Takes in what other threads left, waiting when there is nothing else to do. False: stop.
  bool take_in() {
    std::vector<std::unique_ptr<Sequence>> incoming;
    std::vector<uint64_t> cancelled;
    bool stop = false;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] {
        const bool idle = scheduler_.running() == 0 && (scheduler_.waiting() == 0 || stalled_);
        return stop_ || !incoming_.empty() || !cancelled_.empty() || adapter_came_ || !idle;
      });
      adapter_came_ = false;
      incoming.swap(incoming_);
      cancelled.swap(cancelled_);
      stop = stop_;
    }
    for (auto& sequence : incoming) scheduler_.add(std::move(sequence));
    for (const uint64_t id : cancelled) finish(id, FinishReason::kCancelled, "");
    return !stop;
  }

  void publish() {
    const std::lock_guard lock(mutex_);
    const SchedulerCounts& counts = scheduler_.counts();
    stats_.running = scheduler_.running();
    stats_.waiting = scheduler_.waiting();
    stats_.prompt_tokens = prompt_tokens_;
    stats_.generated_tokens = generated_tokens_;
    stats_.kv_cache_usage = static_cast<double>(scheduler_.used_pages()) / static_cast<double>(cache_.pages());
    stats_.prefix_queries = counts.prefix_queries;
    stats_.prefix_hits = counts.prefix_hits;
    stats_.preemptions = counts.preemptions;
    stats_.draft_tokens = counts.draft_tokens;
    stats_.accepted_draft_tokens = counts.accepted_draft_tokens;
  }

  void finish(uint64_t id, FinishReason reason, const std::string& message) {
    const auto sequence = scheduler_.remove(id);
    if (!sequence) return;
    publish();
    if (!sequence->request.on_finish) return;
    try {
      sequence->request.on_finish(reason, message);
    } catch (const std::exception&) {
      // The caller's own failure; the sequence is gone either way.
    }
  }

  void fail_all(const std::string& message) {
    for (const uint64_t id : scheduler_.ids()) finish(id, FinishReason::kError, message);
  }

  void step() {
    const std::vector<Work>& plan = scheduler_.plan();
    for (const auto& [id, reason] : scheduler_.take_broken()) finish(id, FinishReason::kError, reason);
    stalled_ = plan.empty();  // what waits, waits for an adapter
    if (plan.empty()) return;
    for (const Work& work : plan) announce(*work.sequence);
    for (StepResult& result : runner_.run(plan)) use(result);
  }

  static void announce(Sequence& sequence) {
    if (std::exchange(sequence.scheduled, true)) return;
    if (sequence.request.on_scheduled) sequence.request.on_scheduled();
  }

  void use(StepResult& result) {
    Sequence& sequence = *result.sequence;
    const int64_t first = std::max(sequence.computed, sequence.virtual_tokens);
    const int64_t last = std::min(sequence.computed + result.computed, sequence.prompt_tokens);
    prompt_tokens_ += std::max<int64_t>(0, last - first);
    scheduler_.advance(sequence, result.computed);
    if (!result.failure.empty()) {
      if (!sequence.on_logits) {
        finish(sequence.id, FinishReason::kError, result.failure);
        return;
      }
      sequence.failure = result.failure;  // it ends with its last position
    }
    if (!sequence.generates()) {
      if (sequence.outstanding() > 0) return;
      const std::string failure = sequence.failure;
      finish(sequence.id, failure.empty() ? FinishReason::kStop : FinishReason::kError, failure);
      return;
    }
    if (result.tokens.empty()) return;
    if (sequence.outstanding() == 0 && sequence.computed == sequence.prompt_tokens && sequence.request.on_cached)
      sequence.request.on_cached(std::max<int64_t>(0, sequence.cached_tokens - sequence.virtual_tokens));
    if (!sequence.prompt_results.empty() && !give_prompt(sequence)) return;
    int64_t right = 0;
    for (size_t i = 0; i < result.tokens.size(); ++i) {
      if (!deliver(sequence, result.tokens[i])) return;
      if (i >= sequence.draft.size() || sequence.draft[i] != result.tokens[i].id) break;
      scheduler_.advance(sequence, 1);
      ++right;
    }
    if (!sequence.draft.empty()) scheduler_.settle_draft(sequence, right);
  }

  // False: the request has ended.
  bool give_prompt(Sequence& sequence) {
    sequence.prompt_results[0].id = sequence.text()[0];
    const auto results = std::exchange(sequence.prompt_results, {});
    try {
      if (sequence.request.on_prompt) sequence.request.on_prompt(results);
    } catch (const std::exception& error) {
      finish(sequence.id, FinishReason::kError, error.what());
      return false;
    }
    return true;
  }

  // False: the request has ended.
  bool deliver(Sequence& sequence, const GeneratedToken& token) {
    ++generated_tokens_;
    TokenConstraint* constraint = sequence.request.constraint.get();
    if (constraint != nullptr && !constraint->accept(token.id)) {
      finish(sequence.id, FinishReason::kError, "the grammar refused the token that its own mask allowed");
      return false;
    }
    const bool end = std::binary_search(sequence.end_tokens.begin(), sequence.end_tokens.end(), token.id);
    if (end || (constraint != nullptr && constraint->complete())) {
      finish(sequence.id, FinishReason::kStop, "");
      return false;
    }
    sequence.tokens.push_back(token.id);
    bool more = true;
    try {
      if (sequence.request.on_token) more = sequence.request.on_token(token);
    } catch (const std::exception& error) {
      finish(sequence.id, FinishReason::kError, error.what());
      return false;
    }
    if (!more) {
      finish(sequence.id, FinishReason::kStop, "");
      return false;
    }
    if (static_cast<int64_t>(sequence.tokens.size()) >= sequence.max_length) {
      finish(sequence.id, FinishReason::kLength, "");
      return false;
    }
    return true;
  }

  const EngineOptions options_;
  const model::Architecture architecture_;
  const int64_t max_length_;
  const kernels::Table& table_;
  ThreadPool pool_;
  Decoder decoder_;
  KvCache cache_;
  PagePool pages_;
  int64_t prompt_tokens_ = 0, generated_tokens_ = 0;
  bool stalled_ = false;  // the last plan was empty

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  bool stop_ = false, adapter_came_ = false;
  uint64_t last_id_ = 0;
  std::vector<std::unique_ptr<Sequence>> incoming_;
  std::vector<uint64_t> cancelled_;
  EngineStats stats_;

  AdapterStore adapters_;  // its thread wakes this one
  Scheduler scheduler_;
  ModelRunner runner_;
  std::thread thread_;  // last: it uses all of the above
};

Engine::Engine(const std::filesystem::path& model, const EngineOptions& options)
    : impl_(std::make_unique<Impl>(model, options)) {}

Engine::~Engine() = default;

const model::Architecture& Engine::architecture() const { return impl_->architecture(); }
int64_t Engine::max_model_len() const { return impl_->max_length(); }

void Engine::load_adapter(const std::string& name, const std::filesystem::path& folder, int64_t task_id) {
  impl_->adapters().add(name, folder, task_id);
}
void Engine::unload_adapter(const std::string& name) { impl_->adapters().remove(name); }
std::vector<std::string> Engine::adapters() const { return impl_->adapters().names(); }
int64_t Engine::virtual_tokens(const std::string& adapter) const {
  return adapter.empty() ? 0 : impl_->adapters().find(adapter)->virtual_tokens;
}

uint64_t Engine::submit(GenerationRequest request) { return impl_->submit(std::move(request)); }
uint64_t Engine::submit(EmbeddingRequest request) { return impl_->submit(std::move(request)); }
void Engine::cancel(uint64_t id) { impl_->cancel(id); }
EngineStats Engine::stats() const { return impl_->stats(); }

std::vector<float> Engine::score(const std::vector<int32_t>& tokens, const std::string& adapter) {
  std::vector<float> scores(tokens.empty() ? 0 : tokens.size() - 1);
  const auto vocabulary = static_cast<size_t>(architecture().vocab_size);
  impl_->evaluate(tokens, adapter, 0, [&](int64_t position, const float* logits) {
    const auto at = static_cast<size_t>(position);
    if (at < scores.size()) scores[at] = log_probability({logits, vocabulary}, tokens[at + 1], impl_->table());
  });
  return scores;
}

std::vector<float> Engine::logits(const std::vector<int32_t>& tokens, const std::string& adapter, bool all_positions) {
  const auto vocabulary = static_cast<size_t>(architecture().vocab_size);
  const auto first = all_positions || tokens.empty() ? size_t{0} : tokens.size() - 1;
  std::vector<float> result((tokens.size() - first) * vocabulary);
  impl_->evaluate(tokens, adapter, static_cast<int64_t>(first), [&](int64_t position, const float* logits) {
    std::copy(logits, logits + vocabulary,
              result.begin() + static_cast<std::ptrdiff_t>((static_cast<size_t>(position) - first) * vocabulary));
  });
  return result;
}

}  // namespace slipway::runtime
