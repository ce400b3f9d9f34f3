// JSONL files of a training or validation set -> tokens and which of them are trained, on all cores. Used by
// prepare.cpp.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "agents/engine/text/training_rows.h"
#include "agents/engine/train/data/packing.h"
#include "agents/engine/train/data/token_cache.h"

namespace slipway::text {
class Tokenizer;
}

namespace slipway::train {

struct Dataset {
  Documents documents;
  std::vector<Preference> preferences;  // when the sources hold preferences
  // KTO: for each document the one with the same prompt and another row's answer; empty otherwise.
  std::vector<int64_t> mismatched;
  // What one epoch consists of, by the sources' weights: indices of documents, or of preferences where there are any.
  std::vector<int64_t> epoch;
  // Where every source is held once and there are no preferences: of each row of the files its document, or -1 where it
  // was dropped; see row_blocks.h. Empty otherwise.
  std::vector<int64_t> document_of_row;
  DatasetStatistics statistics;

  std::vector<std::string> keys;  // of the files' tokens

  // SHA-256 over what decides tokens and marks: a resumed run refuses other data.
  std::string fingerprint() const;
};

struct TokenizeOptions {
  int64_t max_length = 512;
  text::RowOptions rows;
  bool predicts_first = false;  // a document's first token is trained too: virtual tokens stand before it
  bool drops_long = false;      // rows that are longer than max_length, instead of cutting them
  uint64_t seed = 42;           // draws the rows of a source whose weight is not whole
  int threads = 1;
  std::filesystem::path cache;  // a folder, made when it is not there
};

// `weight` says how often an epoch holds each row: 2 twice, 0.5 every other one, 1.5 all and half of them again.
struct DataFile {
  std::filesystem::path path;
  text::RowFormat format = text::RowFormat::kMessages;
  double weight = 1;
  std::string key;  // of its tokens in the cache, by name_tokens()
};

// Names each file's tokens by everything that decides them: reads the files whole. Throws base::Error for one that
// cannot be read.
void name_tokens(std::vector<DataFile>& files, const text::Tokenizer& tokenizer, const TokenizeOptions& options);
// Whether those of all files are in the cache.
bool are_cached(const std::vector<DataFile>& files, const std::filesystem::path& cache);

// The tokens of all `files`, which have names, in order: from the cache, or made and put there, by one process at a
// time. Throws base::Error INVALID_DATA naming file and line. Returns what it has so far when `stop` becomes true.
Dataset load_dataset(const std::vector<DataFile>& files, const text::Tokenizer& tokenizer,
                     const TokenizeOptions& options, const std::atomic<bool>& stop);

// Adds KTO's mismatched documents, as TRL makes them: within each `group` of answers, in the order of the data, each
// prompt gets the answer before it, the first prompt the last answer.
void add_mismatched(Dataset& dataset, int64_t group, int64_t max_length);

}  // namespace slipway::train
