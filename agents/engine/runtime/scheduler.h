// Which tokens of which sequences the next step computes: first come first served admission, pages of the KV cache,
// prompts in chunks, eviction when pages run out. No model in here. Called by the engine's thread alone.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agents/engine/runtime/engine.h"
#include "agents/engine/runtime/kv_cache.h"
#include "agents/engine/runtime/lora.h"

namespace slipway::runtime {

// One request on its way through the engine.
struct Sequence {
  uint64_t id = 0;
  GenerationRequest request;
  std::shared_ptr<const Lora> lora;  // null: the base model
  std::vector<int32_t> tokens;       // prompt and generated
  int64_t prompt_tokens = 0;
  int64_t max_length = 0;           // of tokens
  std::vector<int32_t> end_tokens;  // sorted

  // For scoring instead of generating: gets the logits of each position from first_wanted on, on any worker thread.
  std::function<void(int64_t position, const float* logits)> on_logits;
  int64_t first_wanted = 0;
  std::string failure;  // what went wrong at one of these positions

  int64_t computed = 0;  // tokens whose keys and values are in the cache
  std::vector<int32_t> pages;
};

// Tokens [sequence->computed, sequence->computed + tokens) are to be computed.
struct Work {
  Sequence* sequence = nullptr;
  int64_t tokens = 0;
};

class Scheduler {
 public:
  Scheduler(KvCache& cache, int64_t max_num_seqs);

  void add(std::unique_ptr<Sequence> sequence);
  // Chooses the next step's work and gives it its pages; sorted so that one adapter's sequences are neighbours. Empty
  // only when there are no sequences.
  std::vector<Work> plan();
  // Takes a sequence out, wherever it is, and frees its pages; null when it is not there.
  std::unique_ptr<Sequence> remove(uint64_t id);

  int64_t running() const { return static_cast<int64_t>(running_.size()); }
  int64_t waiting() const { return static_cast<int64_t>(waiting_.size()); }
  std::vector<uint64_t> ids() const;

 private:
  void admit();
  bool give_pages(Sequence& sequence, int64_t tokens);
  void free_pages(Sequence& sequence);
  void evict_youngest();

  KvCache& cache_;
  int64_t max_num_seqs_;
  std::deque<std::unique_ptr<Sequence>> waiting_;
  std::vector<std::unique_ptr<Sequence>> running_;  // in the order of admission
};

}  // namespace slipway::runtime
