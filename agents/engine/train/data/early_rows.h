// The first blocks of a large data set, tokenised on demand in the order of training, while a thread makes the tokens
// of all. Used by trainer.cpp.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "agents/engine/train/data/dataset.h"
#include "agents/engine/train/data/row_blocks.h"
#include "agents/engine/train/data/row_index.h"

namespace slipway::train {

// One thread.
class EarlyRows {
 public:
  // Nothing where it has no use: all rows are one block; and where the blocks cannot be known before all is tokenised:
  // preferences and sources with weights, whose dropped rows change what follows. The files have names; the tokenizer
  // must outlive it. Throws base::Error for files that cannot be read.
  static std::unique_ptr<EarlyRows> begin(const std::vector<DataFile>& files, const text::Tokenizer& tokenizer,
                                          const TokenizeOptions& options, bool shuffle);
  ~EarlyRows();
  EarlyRows(const EarlyRows&) = delete;
  EarlyRows& operator=(const EarlyRows&) = delete;

  // Adds the next block's documents to `dataset`, whose keys it fills, and names them; nothing: there are no more
  // blocks. Throws base::Error INVALID_DATA naming file and line.
  std::optional<std::vector<int64_t>> next_block(Dataset& dataset);

  // Whether the whole set is there; waits for it for a moment. Throws what went wrong in it.
  bool is_whole(std::chrono::milliseconds patience);
  // Then, once.
  Dataset take_whole() { return std::move(*whole_); }

 private:
  EarlyRows(std::vector<DataFile> files, const text::Tokenizer& tokenizer, const TokenizeOptions& options,
            bool shuffle);

  std::vector<DataFile> files_;
  const text::Tokenizer& tokenizer_;
  TokenizeOptions options_;
  std::vector<std::unique_ptr<const RowIndex>> indices_;  // beside files_
  std::vector<text::RowEncoder> encoders_;                // beside files_
  std::optional<RowBlocks> blocks_;
  int64_t next_ = 0;
  std::atomic<bool> stop_ = false;
  std::future<Dataset> making_;
  std::optional<Dataset> whole_;
};

}  // namespace slipway::train
