#include "agents/engine/runtime/scheduler.h"

#include <algorithm>

namespace slipway::runtime {
namespace {

// Prompt tokens in one step: many when nobody waits for the next token, few when somebody does.
constexpr int64_t kPromptTokensAlone = 256;
constexpr int64_t kPromptTokensBesideDecoding = 64;

int64_t outstanding(const Sequence& sequence) {
  return static_cast<int64_t>(sequence.tokens.size()) - sequence.computed;
}

}  // namespace

Scheduler::Scheduler(KvCache& cache, int64_t max_num_seqs) : cache_(cache), max_num_seqs_(max_num_seqs) {}

void Scheduler::add(std::unique_ptr<Sequence> sequence) { waiting_.push_back(std::move(sequence)); }

void Scheduler::admit() {
  // Pages that the admitted ones still need for what they hold already.
  int64_t promised = 0;
  for (const auto& sequence : running_) {
    promised += KvCache::pages_for(static_cast<int64_t>(sequence->tokens.size()) + 1) -
                static_cast<int64_t>(sequence->pages.size());
  }
  while (!waiting_.empty() && running() < max_num_seqs_) {
    const auto length = static_cast<int64_t>(waiting_.front()->tokens.size());
    const int64_t needed = KvCache::pages_for(std::min(length + 1, waiting_.front()->max_length));
    if (!running_.empty() && needed > cache_.free_pages() - promised) return;
    promised += needed;
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
}

void Scheduler::free_pages(Sequence& sequence) {
  for (auto page = sequence.pages.rbegin(); page != sequence.pages.rend(); ++page) cache_.release(*page);
  sequence.pages.clear();
}

void Scheduler::evict_youngest() {
  // It starts again from its first token later; what it computes then is the same to the bit.
  std::unique_ptr<Sequence> victim = std::move(running_.back());
  running_.pop_back();
  free_pages(*victim);
  victim->computed = 0;
  waiting_.push_front(std::move(victim));
}

bool Scheduler::give_pages(Sequence& sequence, int64_t tokens) {
  const auto needed = static_cast<size_t>(KvCache::pages_for(sequence.computed + tokens));
  while (sequence.pages.size() < needed) {
    const int32_t page = cache_.allocate();
    if (page >= 0) {
      sequence.pages.push_back(page);
      continue;
    }
    const bool itself = running_.back().get() == &sequence;
    evict_youngest();
    if (itself) return false;
  }
  return true;
}

std::vector<Work> Scheduler::plan() {
  admit();
  const bool decoding = std::any_of(running_.begin(), running_.end(), [](const auto& sequence) {
    return outstanding(*sequence) == 1 && sequence->computed > 0;
  });
  int64_t budget = decoding ? kPromptTokensBesideDecoding : kPromptTokensAlone;
  std::vector<Work> work;
  // From the oldest on, and only the youngest are evicted: a sequence with work keeps it.
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = *running_[i];
    int64_t tokens = outstanding(sequence);
    if (tokens > 1 || sequence.computed == 0) {
      tokens = std::min(tokens, budget);
      if (tokens == 0) continue;
    }
    if (!give_pages(sequence, tokens)) break;
    if (tokens > 1 || sequence.computed == 0) budget -= tokens;
    work.push_back({&sequence, tokens});
  }
  std::stable_sort(work.begin(), work.end(), [](const Work& a, const Work& b) {
    return std::less<>()(a.sequence->lora.get(), b.sequence->lora.get());
  });
  return work;
}

std::unique_ptr<Sequence> Scheduler::remove(uint64_t id) {
  const auto matches = [&](const auto& sequence) { return sequence->id == id; };
  std::unique_ptr<Sequence> found;
  const auto running = std::find_if(running_.begin(), running_.end(), matches);
  if (running != running_.end()) {
    found = std::move(*running);
    running_.erase(running);
  } else {
    const auto waiting = std::find_if(waiting_.begin(), waiting_.end(), matches);
    if (waiting == waiting_.end()) return nullptr;
    found = std::move(*waiting);
    waiting_.erase(waiting);
  }
  free_pages(*found);
  return found;
}

std::vector<uint64_t> Scheduler::ids() const {
  std::vector<uint64_t> ids;
  for (const auto& sequence : running_) ids.push_back(sequence->id);
  for (const auto& sequence : waiting_) ids.push_back(sequence->id);
  return ids;
}

}  // namespace slipway::runtime
