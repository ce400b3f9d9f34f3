#include "agents/engine/runtime/scheduler.h"

#include <algorithm>
#include <set>
#include <utility>

#include "agents/engine/runtime/prompt_lookup.h"
#include "backend/base/error.h"

namespace slipway::runtime {
namespace {

constexpr int64_t kPage = kernels::kPageTokens;
// Guessing pays while a step costs about the same for a few rows more.
constexpr int64_t kMostRowsWithDrafts = 16;

// A sequence that still computes its prompt, or what it had when it was evicted, rather than its next token.
bool in_prompt(const Sequence& sequence) { return sequence.outstanding() > 1 || sequence.computed == 0; }

std::span<const int32_t> page_tokens(const Sequence& sequence, int64_t page) {
  return std::span(sequence.tokens).subspan(static_cast<size_t>(page * kPage), static_cast<size_t>(kPage));
}

// How many full pages at its beginning a sequence may take from others.
int64_t shareable_pages(const Sequence& sequence) { return sequence.first_needed() / kPage; }

// What a step may spend on prompts, in positions: a token costs positions_per_token and one more for each position that
// it sees.
class Budget {
 public:
  Budget(int64_t tokens, int64_t positions_per_token)
      : token_(std::max<int64_t>(1, positions_per_token)), sees_(positions_per_token > 0), left_(tokens * token_) {}

  // Pays for tokens from `position` on, `most` at most, and says for how many: the last may be too dear, so that the
  // first always goes.
  int64_t take(int64_t position, int64_t most) {
    int64_t tokens = 0;
    while (tokens < most && left_ > 0) left_ -= cost(position + tokens++);
    return tokens;
  }
  int64_t left() const { return left_; }
  void lower(int64_t by) { left_ -= by; }

 private:
  int64_t cost(int64_t position) const { return token_ + (sees_ ? position : 0); }

  int64_t token_;
  bool sees_;
  int64_t left_;
};

// Shares the budget out: three quarters by rank, the rest to those with the least left, so that a short prompt does not
// wait for the whole of a long one.
void share_budget(std::vector<Sequence*> prompts, Budget budget) {
  const auto give = [&] {
    for (Sequence* sequence : prompts) {
      sequence->planned +=
          budget.take(sequence->computed + sequence->planned, sequence->outstanding() - sequence->planned);
    }
  };
  const int64_t kept = budget.left() / 4;
  budget.lower(kept);
  give();
  budget.lower(-kept);
  std::stable_sort(prompts.begin(), prompts.end(),
                   [](const Sequence* a, const Sequence* b) { return a->outstanding() < b->outstanding(); });
  give();
}

}  // namespace

Scheduler::Scheduler(PagePool& pool, AdapterStore& adapters, const SchedulerOptions& options)
    : pool_(pool), adapters_(adapters), options_(options) {}

void Scheduler::add(std::unique_ptr<Sequence> sequence) {
  sequence->draft_limit = options_.speculative_tokens;
  const Rank rank = sequence->rank();
  waiting_.emplace(rank, std::move(sequence));
}

// Pages that the running ones still need for what they hold already.
int64_t Scheduler::promised_pages() const {
  int64_t promised = 0;
  for (const auto& [rank, sequence] : running_) {
    const int64_t needed = KvCache::pages_for(static_cast<int64_t>(sequence->tokens.size()) + 1);
    promised += std::max<int64_t>(0, needed - static_cast<int64_t>(sequence->pages.size()));
  }
  return promised;
}

// Pages a sequence needs beyond those that it would find in use by others.
int64_t Scheduler::pages_to_find(const Sequence& sequence) const {
  const auto length = static_cast<int64_t>(sequence.tokens.size());
  int64_t needed = KvCache::pages_for(std::min(length + 1, sequence.max_length));
  PrefixNode node = sequence.adapter ? sequence.adapter->root : kBaseRoot;
  for (int64_t page = 0; page < shareable_pages(sequence); ++page) {
    const int32_t found = pool_.peek(node, page_tokens(sequence, page));
    if (found < 0) break;
    node = pool_.node(found);
    if (pool_.used(found)) --needed;
  }
  return needed;
}

// Evicts a running sequence of lower priority, if there is one. Age alone evicts nobody: that would only move work.
bool Scheduler::make_room_for(const Sequence& sequence) {
  if (running_.empty() || running_.rbegin()->first.first <= sequence.request.priority) return false;
  evict_last();
  return true;
}

// The weights of the sequence's adapter, if it has one, in memory until unpin(): false when they are not there yet.
bool Scheduler::pin_adapter(Sequence& sequence) {
  if (!sequence.adapter) return true;
  try {
    sequence.adapter_weights = adapters_.pin(sequence.adapter);
  } catch (const base::Error& error) {
    broken_.emplace_back(sequence.id, error.what());
  }
  return sequence.adapter_weights != nullptr;
}

void Scheduler::unpin_adapter(Sequence& sequence) {
  if (sequence.adapter_weights != nullptr) adapters_.unpin(sequence.adapter);
  sequence.adapter_weights = nullptr;
}

void Scheduler::admit() {
  for (auto next = waiting_.begin(); next != waiting_.end();) {
    Sequence& sequence = *next->second;
    if (!pin_adapter(sequence)) {
      ++next;  // the others need not wait for its weights
      continue;
    }
    const auto fits = [&] {
      if (running() >= options_.max_num_seqs) return false;
      return running_.empty() || pages_to_find(sequence) <= pool_.available() - promised_pages();
    };
    while (!fits()) {
      if (make_room_for(sequence)) continue;
      unpin_adapter(sequence);
      return;
    }
    sequence.node = sequence.adapter ? sequence.adapter->root : kBaseRoot;
    if (!sequence.admitted_before && sequence.generates()) {
      counts_.prefix_queries += static_cast<int64_t>(sequence.tokens.size());
    }
    running_.insert(waiting_.extract(next++));
  }
}

void Scheduler::give_back(Sequence& sequence) {
  // The last first: what begins a chain is the last to be put out.
  for (auto page = sequence.pages.rbegin(); page != sequence.pages.rend(); ++page) pool_.release(*page);
  sequence.pages.clear();
  sequence.computed = sequence.entered_pages = 0;
  sequence.draft.clear();
  unpin_adapter(sequence);
}

void Scheduler::evict_last() {
  // It starts again later, from the pages that are still there; what it computes then is the same to the bit.
  auto node = running_.extract(std::prev(running_.end()));
  give_back(*node.mapped());
  node.mapped()->admitted_before = true;
  ++counts_.preemptions;
  waiting_.insert(std::move(node));
}

bool Scheduler::give_pages(Sequence& sequence, int64_t tokens) {
  const auto needed = static_cast<size_t>(KvCache::pages_for(sequence.computed + tokens));
  while (sequence.pages.size() < needed) {
    const int32_t page = pool_.allocate();
    if (page >= 0) {
      sequence.pages.push_back(page);
      continue;
    }
    const bool itself = running_.rbegin()->second.get() == &sequence;
    evict_last();
    if (itself) return false;
  }
  return true;
}

// Takes the pages that others have computed already for what comes next.
void Scheduler::attach(Sequence& sequence) {
  while (sequence.computed % kPage == 0 && sequence.computed / kPage < shareable_pages(sequence)) {
    const int32_t page = pool_.find(sequence.node, page_tokens(sequence, sequence.computed / kPage));
    if (page < 0) return;
    sequence.pages.push_back(page);
    sequence.node = pool_.node(page);
    sequence.computed += kPage;
    ++sequence.entered_pages;
    if (sequence.admitted_before || !sequence.generates()) continue;
    counts_.prefix_hits += kPage;
    sequence.cached_tokens += kPage;
  }
}

void Scheduler::draft(Sequence& sequence, int64_t rows) {
  const auto length = static_cast<int64_t>(sequence.tokens.size());
  // A grammar's mask is known for the next token alone.
  if (sequence.draft_limit == 0 || !sequence.generates() || sequence.request.constraint) return;
  const int64_t most = std::min({sequence.draft_limit, rows, sequence.max_length - length - 1});
  sequence.draft = look_up_continuation(sequence.text(), most);
  counts_.draft_tokens += static_cast<int64_t>(sequence.draft.size());
}

// Who computes the same page first leads; the others wait and take it from the cache.
void Scheduler::plan_prompts() {
  std::set<std::pair<PrefixNode, std::vector<int32_t>>> claimed;
  std::erase_if(prompts_, [&](const Sequence* sequence) {
    const int64_t page = sequence->computed / kPage;
    if (!pool_.sharing() || page >= shareable_pages(*sequence)) return false;
    const auto tokens = page_tokens(*sequence, page);
    return !claimed.emplace(sequence->node, std::vector<int32_t>(tokens.begin(), tokens.end())).second;
  });
  share_budget(prompts_, {decoding_.empty() ? options_.prompt_tokens_alone : options_.prompt_tokens_beside,
                          options_.positions_per_token});
}

const std::vector<Work>& Scheduler::plan() {
  admit();
  prompts_.clear();
  decoding_.clear();
  work_.clear();
  for (const auto& [rank, sequence] : running_) {
    if (in_prompt(*sequence)) attach(*sequence);
    sequence->planned = 0;
    (in_prompt(*sequence) ? prompts_ : decoding_).push_back(sequence.get());
  }
  if (!prompts_.empty()) plan_prompts();
  int64_t rows = kMostRowsWithDrafts - static_cast<int64_t>(decoding_.size());
  for (Sequence* sequence : decoding_) {
    if (rows > 0 && prompts_.empty()) draft(*sequence, rows);
    const auto guesses = static_cast<int64_t>(sequence->draft.size());
    rows -= guesses;
    sequence->planned = 1 + guesses;
  }

  // From the first in rank on, and only the last are evicted: a sequence with work keeps it.
  for (auto next = running_.begin(); next != running_.end();) {
    Sequence& sequence = *next->second;
    if (sequence.planned > 0) {
      if (!give_pages(sequence, sequence.planned)) break;
      work_.push_back({&sequence, sequence.planned});
    }
    ++next;
  }
  std::sort(work_.begin(), work_.end(), [](const Work& a, const Work& b) {
    const AdapterWeights *of_a = a.sequence->adapter_weights, *of_b = b.sequence->adapter_weights;
    if (of_a != of_b) return std::less<>()(of_a, of_b);
    return a.sequence->rank() < b.sequence->rank();
  });
  return work_;
}

void Scheduler::advance(Sequence& sequence, int64_t tokens) {
  sequence.computed += tokens;
  while ((sequence.entered_pages + 1) * kPage <= sequence.computed) {
    int32_t& page = sequence.pages[static_cast<size_t>(sequence.entered_pages)];
    page = pool_.enter(page, sequence.node, page_tokens(sequence, sequence.entered_pages));
    sequence.node = pool_.node(page);
    ++sequence.entered_pages;
  }
}

void Scheduler::settle_draft(Sequence& sequence, int64_t accepted) {
  const auto guesses = static_cast<int64_t>(sequence.draft.size());
  counts_.accepted_draft_tokens += accepted;
  sequence.draft.clear();
  sequence.draft_limit = accepted == guesses ? std::min(options_.speculative_tokens, 2 * sequence.draft_limit)
                                             : std::max<int64_t>(1, std::max(accepted, sequence.draft_limit / 2));
  const auto needed = static_cast<size_t>(KvCache::pages_for(sequence.computed));
  while (sequence.pages.size() > needed) {
    pool_.release(sequence.pages.back());
    sequence.pages.pop_back();
  }
}

std::unique_ptr<Sequence> Scheduler::remove(uint64_t id) {
  for (Queue* queue : {&running_, &waiting_}) {
    const auto found =
        std::find_if(queue->begin(), queue->end(), [&](const auto& entry) { return entry.first.second == id; });
    if (found == queue->end()) continue;
    std::unique_ptr<Sequence> sequence = std::move(found->second);
    queue->erase(found);
    give_back(*sequence);
    return sequence;
  }
  return nullptr;
}

std::vector<uint64_t> Scheduler::ids() const {
  std::vector<uint64_t> ids;
  for (const Queue* queue : {&running_, &waiting_}) {
    for (const auto& [rank, sequence] : *queue) ids.push_back(rank.second);
  }
  return ids;
}

}  // namespace slipway::runtime
