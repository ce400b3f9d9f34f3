// JSONL files of a training or validation set -> tokens and which of them are trained. Used by trainer.cpp.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "agents/engine/train/packing.h"
#include "agents/engine/train/settings.h"

namespace slipway::text {
class Tokenizer;
}

namespace slipway::train {

struct DatasetStatistics {
  int64_t rows = 0;            // in the files
  int64_t dropped_rows = 0;    // no trained token left after cutting to max_length
  int64_t truncated_rows = 0;  // cut to max_length (those that were kept)
  int64_t tokens = 0;          // of the rows that were kept
  int64_t trained_tokens = 0;
};

struct Dataset {
  Documents documents;
  DatasetStatistics statistics;

  // SHA-256 over tokens and marks: a resumed run refuses other data.
  std::string fingerprint() const;
};

struct TokenizeOptions {
  int64_t max_length = 512;
  bool assistant_only_loss = true;
  bool completion_only_loss = true;
};

// Reads all `files` in order. messages: the chat template's rendering, the assistant's tokens trained; text: the text
// and the end-of-text token; prompt_completion: prompt and completion, the same end, the completion trained. Throws
// base::Error INVALID_DATA naming file and line. Returns what it has so far when `stop` becomes true.
struct DataFile {
  std::filesystem::path path;
  DataFormat format = DataFormat::kMessages;
};
Dataset load_dataset(const std::vector<DataFile>& files, const text::Tokenizer& tokenizer,
                     const TokenizeOptions& options, const std::atomic<bool>& stop);

}  // namespace slipway::train
