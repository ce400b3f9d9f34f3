#include "agents/engine/train/data/documents.h"

#include <algorithm>
#include <utility>

namespace slipway::train {

Documents::Place Documents::place_of(int64_t document) const {
  if (document >= added_begin_) {
    const auto i = static_cast<size_t>(document - added_begin_);
    const auto begin = offsets_[i];
    return {tokens_.data() + begin, trained_.data() + begin, static_cast<size_t>(offsets_[i + 1] - begin), tasks_[i]};
  }
  const auto after = std::upper_bound(run_begins_.begin(), run_begins_.end(), document);
  const auto at = static_cast<size_t>(after - run_begins_.begin()) - 1;
  const DocumentRun& run = runs_[at];
  const auto i = static_cast<size_t>(document - run_begins_[at]);
  const auto begin = run.offsets[i];
  return {run.tokens.data() + begin, run.trained.data() + begin, static_cast<size_t>(run.offsets[i + 1] - begin),
          run.tasks[i]};
}

std::span<const int32_t> Documents::tokens(int64_t document) const {
  const Place place = place_of(document);
  return {place.tokens, place.length};
}

std::span<const uint8_t> Documents::trained(int64_t document) const {
  const Place place = place_of(document);
  return {place.trained, place.length};
}

int32_t Documents::task(int64_t document) const { return place_of(document).task; }

int64_t Documents::targets(int64_t document, bool predicts_first) const {
  const std::span<const uint8_t> marks = trained(document);
  return std::count(marks.begin() + (predicts_first ? 0 : 1), marks.end(), uint8_t{1});
}

void Documents::add(DocumentRun run) {
  const auto count = static_cast<int64_t>(run.offsets.size()) - 1;
  if (count == 0) return;
  run_begins_.push_back(added_begin_);
  runs_.push_back(std::move(run));
  added_begin_ += count;
}

void Documents::add(std::span<const int32_t> document_tokens, std::span<const uint8_t> document_trained, int32_t task) {
  tokens_.insert(tokens_.end(), document_tokens.begin(), document_tokens.end());
  trained_.insert(trained_.end(), document_trained.begin(), document_trained.end());
  offsets_.push_back(static_cast<int64_t>(tokens_.size()));
  tasks_.push_back(task);
}

}  // namespace slipway::train
