// The tokens of one data file, made once and mapped from then on: a folder named by a hash of everything that decides
// them. A data set may so be larger than the memory. Used by dataset.cpp.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "agents/engine/train/data/documents.h"

namespace slipway::train {

struct DatasetStatistics {
  int64_t rows = 0;            // in the files
  int64_t dropped_rows = 0;    // no trained token left after cutting to max_length
  int64_t truncated_rows = 0;  // cut to max_length (those that were kept)
  int64_t tokens = 0;          // of the rows that were kept
  int64_t trained_tokens = 0;
  int32_t highest_token = 0;

  void add(const DatasetStatistics& other);
};

// Documents of a preference row; -1 where there is none.
struct Preference {
  int64_t chosen = -1, rejected = -1;
};

struct CachedTokens {
  DocumentRun documents;
  std::span<const int64_t> rows;            // of each document: its row of the file, from 0; dropped ones count
  std::span<const Preference> preferences;  // documents counted from the run's first; empty for other rows
  DatasetStatistics statistics;
};

// What is there under `key` and whole; nothing otherwise. Throws base::Error for files that cannot be read.
std::unique_ptr<const CachedTokens> open_token_cache(const std::filesystem::path& folder, const std::string& key);

// Writes one; what is not finished leaves nothing behind. One thread.
class TokenCacheWriter {
 public:
  // Throws base::Error IO or DISK_FULL, as all of its functions do.
  TokenCacheWriter(std::filesystem::path folder, std::string key);
  ~TokenCacheWriter();
  TokenCacheWriter(const TokenCacheWriter&) = delete;
  TokenCacheWriter& operator=(const TokenCacheWriter&) = delete;

  int64_t count() const { return count_; }  // of documents
  void add(std::span<const int32_t> tokens, std::span<const uint8_t> trained, int32_t task, int64_t row);
  void add(const Preference& preference);
  // Another process that was faster with the same key wins.
  void finish(const DatasetStatistics& statistics);

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  using File = std::unique_ptr<std::FILE, Close>;
  File open(const char* name);
  void append(const File& file, std::span<const std::byte> bytes);

  std::filesystem::path folder_, writing_;
  std::string key_;
  File tokens_, trained_, offsets_, tasks_, rows_, preferences_;
  int64_t count_ = 0, end_ = 0;
};

}  // namespace slipway::train
