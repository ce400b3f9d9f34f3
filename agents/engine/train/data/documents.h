// All documents of a data set as tokens, in memory or in mapped files. Used by dataset.cpp, packing.cpp and step.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace slipway::train {

// Documents one after the other: document i is [offsets[i], offsets[i + 1]).
struct DocumentRun {
  std::span<const int32_t> tokens;
  std::span<const uint8_t> trained;  // beside tokens
  std::span<const int64_t> offsets;  // one more than there are documents
  std::span<const int32_t> tasks;    // of each document
  std::shared_ptr<const void> owner;
};

// A token is trained when its bit in `trained` is set and something predicts it: the first of its document only where
// virtual tokens stand before it. One thread adds, any threads read.
class Documents {
 public:
  int64_t count() const { return added_begin_ + static_cast<int64_t>(offsets_.size()) - 1; }
  int64_t length(int64_t document) const { return static_cast<int64_t>(tokens(document).size()); }
  std::span<const int32_t> tokens(int64_t document) const;
  std::span<const uint8_t> trained(int64_t document) const;

  int32_t task(int64_t document) const;
  // How many tokens are trained.
  int64_t targets(int64_t document, bool predicts_first) const;

  // Runs come before all single ones.
  void add(DocumentRun run);
  void add(std::span<const int32_t> document_tokens, std::span<const uint8_t> document_trained, int32_t task = 0);

 private:
  struct Place {
    const int32_t* tokens = nullptr;
    const uint8_t* trained = nullptr;
    size_t length = 0;
    int32_t task = 0;
  };
  Place place_of(int64_t document) const;

  std::vector<DocumentRun> runs_;
  std::vector<int64_t> run_begins_;  // beside runs_: the first document of each
  int64_t added_begin_ = 0;          // the first of those below
  std::vector<int32_t> tokens_;
  std::vector<uint8_t> trained_;
  std::vector<int64_t> offsets_{0};
  std::vector<int32_t> tasks_;
};

}  // namespace slipway::train
