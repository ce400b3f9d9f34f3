// Which tokens of which sequences the next step computes: admission by priority and age, pages of the KV cache, prompts
// in chunks within a budget, shared beginnings computed once, eviction when pages run out. No model in here. Called by
// the engine's thread alone.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agents/engine/runtime/adapter_store.h"
#include "agents/engine/runtime/page_pool.h"
#include "agents/engine/runtime/sequence.h"

namespace slipway::runtime {

struct SchedulerOptions {
  int64_t max_num_seqs = 64;
  // Prompt tokens in one step: while nobody waits for a next token, and while somebody does. Tokens far into their
  // sequence count for more.
  int64_t prompt_tokens_alone = 256;
  int64_t prompt_tokens_beside = 64;
  // Attention over so many positions costs as much as the rest of a token's way through the model; 0: it is free.
  int64_t positions_per_token = 0;
  int64_t speculative_tokens = 0;  // most guesses for one sequence in one step
};

// The tokens [sequence->computed, sequence->computed + tokens), guesses included, are to be computed.
struct Work {
  Sequence* sequence = nullptr;
  int64_t tokens = 0;
};

// Running totals.
struct SchedulerCounts {
  int64_t prefix_queries = 0, prefix_hits = 0;  // prompt tokens looked for, and found, in the cache
  int64_t preemptions = 0;
  int64_t draft_tokens = 0, accepted_draft_tokens = 0;
};

class Scheduler {
 public:
  Scheduler(PagePool& pool, AdapterStore& adapters, const SchedulerOptions& options);

  void add(std::unique_ptr<Sequence> sequence);

  // Chooses the next step's work and gives it its pages; sorted so that one adapter's sequences are neighbours. Empty
  // when there are no sequences, or when all that could run wait for their adapters. Stays until the next plan; while
  // sequences only decode, planning allocates nothing.
  const std::vector<Work>& plan();

  // `tokens` more of the sequence are computed: full pages can be found by others from now on.
  void advance(Sequence& sequence, int64_t tokens);
  // How many of the sequence's guesses were right; they are forgotten, and so are their pages.
  void settle_draft(Sequence& sequence, int64_t accepted);

  // Takes a sequence out, wherever it is, and gives its pages back; null when it is not there.
  std::unique_ptr<Sequence> remove(uint64_t id);

  int64_t running() const { return static_cast<int64_t>(running_.size()); }
  int64_t waiting() const { return static_cast<int64_t>(waiting_.size()); }
  std::vector<uint64_t> ids() const;
  // Sequences that cannot go on, each with the reason: for the engine to end.
  std::vector<std::pair<uint64_t, std::string>> take_broken() { return std::exchange(broken_, {}); }
  const SchedulerCounts& counts() const { return counts_; }
  int64_t used_pages() const { return pool_.pages() - pool_.available(); }

 private:
  using Queue = std::map<Rank, std::unique_ptr<Sequence>>;

  void admit();
  int64_t promised_pages() const;
  int64_t pages_to_find(const Sequence& sequence) const;
  bool pin_adapter(Sequence& sequence);
  void unpin_adapter(Sequence& sequence);
  bool make_room_for(const Sequence& sequence);
  void attach(Sequence& sequence);
  void draft(Sequence& sequence, int64_t rows);
  void plan_prompts();
  bool give_pages(Sequence& sequence, int64_t tokens);
  void give_back(Sequence& sequence);
  void evict_last();

  PagePool& pool_;
  AdapterStore& adapters_;
  const SchedulerOptions options_;
  Queue waiting_, running_;
  std::vector<std::pair<uint64_t, std::string>> broken_;
  SchedulerCounts counts_;
  // Of the step that is planned.
  std::vector<Sequence*> prompts_, decoding_;
  std::vector<Work> work_;
};

}  // namespace slipway::runtime
