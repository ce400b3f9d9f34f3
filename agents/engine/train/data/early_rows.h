// The first blocks of a large data set, tokenised on demand in the order of training, while a thread makes the tokens
// of all. Used by trainer.cpp.
#pragma once

#include <atomic>
#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <vector>

#include "agents/engine/train/data/dataset.h"
#include "agents/engine/train/data/line_index.h"
#include "agents/engine/train/data/row_blocks.h"

namespace slipway::train {

// One thread.
class EarlyRows {
 public:
  // Nothing where it has no use: the tokens are there already, or all rows are one block; and where the blocks cannot
  // be known before all is tokenised: preferences, sources with weights, Parquet. The tokenizer must outlive it. Throws
  // base::Error for files that cannot be read.
  static std::unique_ptr<EarlyRows> begin(const std::vector<DataFile>& files, const text::Tokenizer& tokenizer,
                                          const TokenizeOptions& options, bool shuffle);
  ~EarlyRows();
  EarlyRows(const EarlyRows&) = delete;
  EarlyRows& operator=(const EarlyRows&) = delete;

  // Adds the next block's documents to `dataset`, whose keys it fills, and names them; nothing: there are no more
  // blocks. Throws base::Error INVALID_DATA naming file and line.
  std::optional<std::vector<int64_t>> next_block(Dataset& dataset);

  // The whole set, once it is there (waited for with `wait`, until `stop` becomes true). Throws what went wrong in it.
  std::optional<Dataset> whole(bool wait, const std::atomic<bool>& stop);

 private:
  EarlyRows(std::vector<DataFile> files, const text::Tokenizer& tokenizer, const TokenizeOptions& options,
            std::vector<std::string> keys, bool shuffle);

  std::vector<DataFile> files_;
  const text::Tokenizer& tokenizer_;
  TokenizeOptions options_;
  std::vector<std::string> keys_;
  std::vector<std::unique_ptr<LineIndex>> lines_;  // beside files_
  std::optional<RowBlocks> blocks_;
  int64_t next_ = 0;
  std::atomic<bool> stop_ = false;
  std::future<Dataset> whole_;
};

}  // namespace slipway::train
