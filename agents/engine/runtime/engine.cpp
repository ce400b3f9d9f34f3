#include "agents/engine/runtime/engine.h"

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <future>
#include <map>
#include <mutex>
#include <new>
#include <thread>

#include "agents/engine/kernels/kernels.h"
#include "agents/engine/model/decoder_tensors.h"
#include "agents/engine/runtime/decoder.h"
#include "agents/engine/runtime/sampler.h"
#include "agents/engine/runtime/scheduler.h"
#include "agents/engine/runtime/thread_pool.h"
#include "backend/base/error.h"

namespace slipway::runtime {
namespace {

constexpr int64_t kDefaultMaxLength = 8192;
constexpr int64_t kDefaultTokensPerSequence = 1024;
constexpr int64_t kMostCacheTokens = int64_t{1} << 30U;
constexpr int64_t kLogitRows = 32;  // rows whose logits are computed and used at once
constexpr char kInvalidRequest[] = "INVALID_REQUEST";

int64_t checked_max_length(const EngineOptions& options, const model::Architecture& architecture) {
  const int64_t limit = architecture.max_position_embeddings;
  if (options.max_model_len < 0 || options.max_model_len > limit) {
    throw base::Error(base::kInvalidSpec,
                      "max_model_len is " + std::to_string(options.max_model_len) + ", the model's own limit is " +
                          std::to_string(limit),
                      "give 1 to " + std::to_string(limit) + ", or 0 for the model's limit");
  }
  return options.max_model_len > 0 ? options.max_model_len : std::min(limit, kDefaultMaxLength);
}

int64_t cache_pages(const EngineOptions& options, int64_t max_length) {
  const int64_t wanted =
      options.kv_cache_tokens > 0 ? options.kv_cache_tokens : options.max_num_seqs * kDefaultTokensPerSequence;
  return KvCache::pages_for(std::max(wanted, max_length));
}

kernels::WeightFormat format_of(WeightType type) {
  switch (type) {
    case WeightType::kF32:
      break;
    case WeightType::kBF16:
      return kernels::WeightFormat::kBF16;
    case WeightType::kInt8:
      return kernels::WeightFormat::kInt8;
    case WeightType::kInt4:
      return kernels::WeightFormat::kInt4;
  }
  return kernels::WeightFormat::kF32;
}

EngineOptions checked(EngineOptions options) {
  if (options.max_num_seqs < 1 || options.max_num_seqs > 4096) {
    throw base::Error(base::kInvalidSpec, "max_num_seqs is " + std::to_string(options.max_num_seqs), "give 1 to 4096");
  }
  if (options.kv_cache_tokens < 0 || options.kv_cache_tokens > kMostCacheTokens) {
    throw base::Error(base::kInvalidSpec, "kv_cache_tokens is " + std::to_string(options.kv_cache_tokens),
                      "give up to " + std::to_string(kMostCacheTokens) + ", or 0 for what max_num_seqs suggests");
  }
  return options;
}

}  // namespace

class Engine::Impl {
 public:
  Impl(const std::filesystem::path& model, const EngineOptions& given)
      : options_(checked(given)),
        architecture_(model::load_architecture(model)),
        max_length_(checked_max_length(options_, architecture_)),
        table_(*kernels::table(kernels::best_level())),
        pool_(options_.threads),
        decoder_(model, architecture_, format_of(options_.weight_type), max_length_, pool_, table_),
        cache_(architecture_.num_hidden_layers, architecture_.num_key_value_heads, architecture_.head_dim,
               cache_pages(options_, max_length_), decoder_.cache_format()),
        scheduler_(cache_, options_.max_num_seqs),
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

  void load_adapter(const std::string& name, const std::filesystem::path& folder) {
    auto lora = load_lora(folder, architecture_);
    const std::lock_guard lock(mutex_);
    adapters_[name] = std::move(lora);
  }

  void unload_adapter(const std::string& name) {
    const std::lock_guard lock(mutex_);
    adapters_.erase(name);
  }

  std::vector<std::string> adapters() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> names;
    for (const auto& [name, lora] : adapters_) names.push_back(name);
    return names;
  }

  uint64_t submit(GenerationRequest request) {
    check_tokens(request.prompt, max_length_ - 1);
    check_options(request.sampling);
    if (request.max_tokens < 0 || request.min_tokens < 0) {
      throw base::Error(kInvalidRequest, "max_tokens or min_tokens is negative", "give 0 or more");
    }
    auto sequence = std::make_unique<Sequence>();
    sequence->tokens = request.prompt;
    sequence->prompt_tokens = static_cast<int64_t>(request.prompt.size());
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
    sequence->lora = find_adapter(request.adapter);
    sequence->request = std::move(request);
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
    return stats;
  }

  // Runs `tokens` through the model and gives on_logits the logits of each position from first_wanted on.
  void evaluate(const std::vector<int32_t>& tokens, const std::string& adapter, int64_t first_wanted,
                std::function<void(int64_t, const float*)> on_logits) {
    check_tokens(tokens, max_length_);
    auto sequence = std::make_unique<Sequence>();
    sequence->tokens = tokens;
    sequence->prompt_tokens = sequence->max_length = static_cast<int64_t>(tokens.size());
    sequence->first_wanted = first_wanted;
    sequence->on_logits = std::move(on_logits);
    sequence->lora = find_adapter(adapter);
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
  void check_tokens(const std::vector<int32_t>& tokens, int64_t most) const {
    if (tokens.empty()) throw base::Error(kInvalidRequest, "the prompt is empty", "give at least one token");
    if (static_cast<int64_t>(tokens.size()) > most) {
      throw base::Error(kInvalidRequest,
                        "the prompt has " + std::to_string(tokens.size()) + " tokens, this model takes at most " +
                            std::to_string(most) + " of its " + std::to_string(max_length_),
                        "shorten the prompt, or start the server with a larger max_model_len");
    }
    for (const int32_t id : tokens) {
      if (id < 0 || id >= architecture_.vocab_size) {
        throw base::Error(kInvalidRequest,
                          "the prompt holds token " + std::to_string(id) + ", the vocabulary has " +
                              std::to_string(architecture_.vocab_size),
                          "use the tokenizer that came with the model");
      }
    }
  }

  std::shared_ptr<const Lora> find_adapter(const std::string& name) const {
    if (name.empty()) return nullptr;
    const std::lock_guard lock(mutex_);
    const auto found = adapters_.find(name);
    if (found == adapters_.end()) {
      throw base::Error(base::kNotFound, "the adapter '" + name + "' is not loaded",
                        "load it first, or use the base model");
    }
    return found->second;
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
        return stop_ || !incoming_.empty() || !cancelled_.empty() || scheduler_.running() + scheduler_.waiting() > 0;
      });
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
    stats_.running = scheduler_.running();
    stats_.waiting = scheduler_.waiting();
    stats_.prompt_tokens = prompt_tokens_;
    stats_.generated_tokens = generated_tokens_;
    stats_.kv_cache_usage = 1.0 - static_cast<double>(cache_.free_pages()) / static_cast<double>(cache_.pages());
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

  // One row of the batch whose logits somebody wants.
  struct Wanted {
    Sequence* sequence;
    int64_t row;
    int64_t position;
  };

  void step() {
    const std::vector<Work> plan = scheduler_.plan();
    if (plan.empty()) return;
    std::vector<int32_t> tokens;
    std::vector<Segment> segments;
    std::vector<Wanted> wanted;
    for (const auto& [sequence, count] : plan) {
      Segment segment;
      segment.row = static_cast<int64_t>(tokens.size());
      segment.rows = count;
      segment.position = sequence->computed;
      segment.pages = sequence->pages.data();
      segment.lora = sequence->lora.get();
      segments.push_back(segment);
      const auto begin = sequence->tokens.begin() + sequence->computed;
      tokens.insert(tokens.end(), begin, begin + count);
      const auto length = static_cast<int64_t>(sequence->tokens.size());
      const int64_t first = sequence->on_logits ? sequence->first_wanted : length - 1;
      for (int64_t position = std::max(first, sequence->computed); position < sequence->computed + count; ++position) {
        wanted.push_back({sequence, segment.row + position - sequence->computed, position});
      }
    }
    decoder_.forward(tokens, segments, cache_);
    std::vector<Sequence*> scored;
    for (const auto& [sequence, count] : plan) {
      prompt_tokens_ +=
          std::max<int64_t>(0, std::min(sequence->prompt_tokens, sequence->computed + count) - sequence->computed);
      sequence->computed += count;
      if (sequence->on_logits && sequence->computed == sequence->prompt_tokens) scored.push_back(sequence);
    }
    for (size_t begin = 0; begin < wanted.size(); begin += kLogitRows) {
      use_logits(std::span(wanted).subspan(begin, std::min<size_t>(kLogitRows, wanted.size() - begin)));
    }
    for (const Sequence* sequence : scored) {
      const std::string failure = sequence->failure;
      finish(sequence->id, failure.empty() ? FinishReason::kStop : FinishReason::kError, failure);
    }
  }

  void use_logits(std::span<const Wanted> wanted) {
    const auto vocabulary = static_cast<size_t>(architecture_.vocab_size);
    std::vector<int64_t> rows;
    for (const Wanted& want : wanted) rows.push_back(want.row);
    logits_.resize(std::max(logits_.size(), rows.size() * vocabulary));
    decoder_.logits(rows, logits_.data());

    std::vector<GeneratedToken> chosen(wanted.size());
    std::vector<std::string> failures(wanted.size());
    pool_.run(static_cast<int64_t>(wanted.size()), [&](int64_t index, int) {
      const auto i = static_cast<size_t>(index);
      const std::span<float> logits(logits_.data() + i * vocabulary, vocabulary);
      try {
        use_row(wanted[i], logits, chosen[i], failures[i]);
      } catch (const std::exception& error) {
        failures[i] = error.what();
      }
    });
    for (size_t i = 0; i < wanted.size(); ++i) {
      Sequence& sequence = *wanted[i].sequence;
      if (sequence.on_logits) {
        if (!failures[i].empty()) sequence.failure = failures[i];  // it ends with its last position
      } else if (!failures[i].empty()) {
        finish(sequence.id, FinishReason::kError, failures[i]);
      } else {
        deliver(sequence, chosen[i]);
      }
    }
  }

  // Any worker.
  void use_row(const Wanted& want, std::span<float> logits, GeneratedToken& chosen, std::string& failure) const {
    const Sequence& sequence = *want.sequence;
    const float total = table_.sum_exp(logits.data(), table_.maximum(logits.data(), architecture_.vocab_size),
                                       architecture_.vocab_size);
    if (!std::isfinite(total)) {
      failure = "the model's output is not a number; its weights or the adapter's may be damaged";
    } else if (sequence.on_logits) {
      sequence.on_logits(want.position, logits.data());
    } else {
      SamplingState state{sequence.tokens, sequence.prompt_tokens, {}};
      const int64_t generated = static_cast<int64_t>(sequence.tokens.size()) - sequence.prompt_tokens;
      if (generated < sequence.request.min_tokens) state.banned = sequence.end_tokens;
      chosen = sample(logits, sequence.request.sampling, state, table_);
    }
  }

  void deliver(Sequence& sequence, const GeneratedToken& token) {
    ++generated_tokens_;
    if (std::binary_search(sequence.end_tokens.begin(), sequence.end_tokens.end(), token.id)) {
      finish(sequence.id, FinishReason::kStop, "");
      return;
    }
    sequence.tokens.push_back(token.id);
    bool more = true;
    try {
      if (sequence.request.on_token) more = sequence.request.on_token(token);
    } catch (const std::exception& error) {
      finish(sequence.id, FinishReason::kError, error.what());
      return;
    }
    if (!more) {
      finish(sequence.id, FinishReason::kStop, "");
    } else if (static_cast<int64_t>(sequence.tokens.size()) >= sequence.max_length) {
      finish(sequence.id, FinishReason::kLength, "");
    }
  }

  const EngineOptions options_;
  const model::Architecture architecture_;
  const int64_t max_length_;
  const kernels::Table& table_;
  ThreadPool pool_;
  Decoder decoder_;
  KvCache cache_;
  Scheduler scheduler_;
  std::vector<float> logits_;
  int64_t prompt_tokens_ = 0, generated_tokens_ = 0;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  bool stop_ = false;
  uint64_t last_id_ = 0;
  std::vector<std::unique_ptr<Sequence>> incoming_;
  std::vector<uint64_t> cancelled_;
  std::map<std::string, std::shared_ptr<const Lora>> adapters_;
  EngineStats stats_;

  std::thread thread_;  // last: it uses all of the above
};

std::string weight_type_name(WeightType type) {
  switch (type) {
    case WeightType::kF32:
      break;
    case WeightType::kBF16:
      return "bf16";
    case WeightType::kInt8:
      return "int8";
    case WeightType::kInt4:
      return "int4";
  }
  return "f32";
}

WeightType choose_weight_type(const std::string& dtype, const std::filesystem::path& model) {
  for (const auto type : {WeightType::kF32, WeightType::kBF16, WeightType::kInt8, WeightType::kInt4}) {
    if (dtype == weight_type_name(type)) return type;
  }
  if (dtype != "auto") {
    throw base::Error(base::kUnsupported, "dtype " + dtype + " is not known", "known: auto, f32, bf16, int8, int4");
  }
  constexpr char kSample[] = "model.layers.0.mlp.down_proj.weight";
  const auto weights = model::open_decoder_weights(model, model::load_architecture(model));
  const bool bf16 = weights->contains(kSample) && weights->get(kSample).dtype == model::DType::kBF16;
  return bf16 ? WeightType::kBF16 : WeightType::kF32;
}

Engine::Engine(const std::filesystem::path& model, const EngineOptions& options)
    : impl_(std::make_unique<Impl>(model, options)) {}

Engine::~Engine() = default;

const model::Architecture& Engine::architecture() const { return impl_->architecture(); }
int64_t Engine::max_model_len() const { return impl_->max_length(); }

void Engine::load_adapter(const std::string& name, const std::filesystem::path& folder) {
  impl_->load_adapter(name, folder);
}
void Engine::unload_adapter(const std::string& name) { impl_->unload_adapter(name); }
std::vector<std::string> Engine::adapters() const { return impl_->adapters(); }

uint64_t Engine::submit(GenerationRequest request) { return impl_->submit(std::move(request)); }
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
