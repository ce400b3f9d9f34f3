#include "agents/engine/train/data/dataset.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <future>
#include <thread>
#include <utility>

#include "agents/engine/text/tokenizer.h"
#include "agents/engine/train/data/encode_rows.h"
#include "agents/engine/train/data/random.h"
#include "backend/base/descriptor.h"
#include "backend/base/error.h"
#include "backend/base/sha256.h"

namespace slipway::train {

namespace {

constexpr size_t kLinesAtOnce = 2048;
constexpr size_t kBytesAtOnce = size_t{64} << 20U;

// Makes one file's tokens. One thread, and those that encode.
class Loader {
 public:
  Loader(const text::Tokenizer& tokenizer, const TokenizeOptions& options, const std::atomic<bool>& stop,
         TokenCacheWriter& writer)
      : tokenizer_(tokenizer), options_(options), stop_(stop), writer_(writer) {}

  // False when a stop came first.
  bool read(const DataFile& file) {
    const text::RowEncoder encoder(tokenizer_, file.format, options_.rows);
    const bool preferences = file.format == text::RowFormat::kPreference;
    std::vector<Line> lines;
    std::future<std::vector<Line>> encoded;
    size_t bytes = 0;
    const auto write = [&] {
      if (!encoded.valid()) return;
      for (Line& line : encoded.get()) {
        if (line.error) text::throw_at_line(file.path, line.number, line.error->what(), line.error->advice());
        add(std::move(line.rows), preferences);
      }
    };
    // While some lines are encoded, those before them are written and the next are read.
    const auto flush = [&] {
      auto next = std::async(std::launch::async, [&, block = std::exchange(lines, {})]() mutable {
        encode_lines(encoder, preferences, options_.threads, stop_, block);
        return std::move(block);
      });
      write();
      encoded = std::move(next);
      bytes = 0;
    };
    int64_t number = 0;
    text::for_each_line(file.path, number, [&](const std::string& line) {
      lines.push_back({number, line, {}, {}});
      bytes += line.size();
      if (lines.size() == kLinesAtOnce || bytes >= kBytesAtOnce) flush();
      return !stop_.load();
    });
    flush();
    write();
    if (stop_.load()) return false;
    writer_.finish(statistics_);
    return true;
  }

 private:
  // Adds one row, or counts why not.
  void add(std::vector<text::TrainingRow> rows, bool preferences) {
    DatasetStatistics& statistics = statistics_;
    if (rows.empty()) return;  // a stop came first
    ++statistics.rows;
    bool truncated = false;
    int64_t tokens = 0, targets = 0;
    for (text::TrainingRow& row : rows) {
      if (row.ids.empty() && preferences) continue;
      const int64_t trained = cut_row(options_, row, truncated);
      if (trained == 0) {
        ++statistics.dropped_rows;
        return;
      }
      targets += trained;
      tokens += static_cast<int64_t>(row.ids.size());
    }
    statistics.truncated_rows += truncated ? 1 : 0;
    statistics.tokens += tokens;
    statistics.trained_tokens += targets;
    Preference preference;
    for (size_t i = 0; i < rows.size(); ++i) {
      if (rows[i].ids.empty()) continue;
      (i == 0 ? preference.chosen : preference.rejected) = writer_.count();
      writer_.add(rows[i].ids, rows[i].trained, rows[i].task_id, statistics.rows - 1);
      statistics.highest_token =
          std::max(statistics.highest_token, *std::max_element(rows[i].ids.begin(), rows[i].ids.end()));
    }
    if (preferences) writer_.add(preference);
  }

  const text::Tokenizer& tokenizer_;
  const TokenizeOptions& options_;
  const std::atomic<bool>& stop_;
  TokenCacheWriter& writer_;
  DatasetStatistics statistics_;
};

// How often an epoch holds each of the rows [first, last).
void add_to_epoch(Dataset& dataset, int64_t first, int64_t last, double weight, uint64_t seed) {
  const double whole = std::floor(weight);
  for (int64_t copy = 0; copy < static_cast<int64_t>(whole); ++copy) {
    for (int64_t i = first; i < last; ++i) dataset.epoch.push_back(i);
  }
  const auto part = static_cast<int64_t>(std::llround((weight - whole) * static_cast<double>(last - first)));
  if (part == 0) return;
  std::vector<int64_t> drawn = shuffled_order(last - first, mix_seed(seed, "source", static_cast<uint64_t>(first)));
  drawn.resize(static_cast<size_t>(part));
  std::sort(drawn.begin(), drawn.end());
  for (const int64_t i : drawn) dataset.epoch.push_back(first + i);
}

void add_rows(Dataset& dataset, const CachedTokens& cached, int64_t first_document) {
  const auto first = static_cast<int64_t>(dataset.document_of_row.size());
  dataset.document_of_row.resize(static_cast<size_t>(first + cached.statistics.rows), -1);
  for (size_t i = 0; i < cached.rows.size(); ++i) {
    dataset.document_of_row[static_cast<size_t>(first + cached.rows[i])] = first_document + static_cast<int64_t>(i);
  }
}

void add_file(Dataset& dataset, const CachedTokens& cached, double weight, uint64_t seed) {
  const int64_t first_document = dataset.documents.count();
  dataset.documents.add(cached.documents);
  dataset.statistics.add(cached.statistics);
  const bool preferences = !cached.preferences.empty();
  const int64_t first = preferences ? static_cast<int64_t>(dataset.preferences.size()) : first_document;
  for (const Preference& one : cached.preferences) {
    const auto moved = [&](int64_t document) { return document < 0 ? document : document + first_document; };
    dataset.preferences.push_back({moved(one.chosen), moved(one.rejected)});
  }
  const int64_t last = preferences ? static_cast<int64_t>(dataset.preferences.size()) : dataset.documents.count();
  add_to_epoch(dataset, first, last, weight, seed);
}

}  // namespace

namespace {

std::string token_key(const DataFile& file, const text::Tokenizer& tokenizer, const TokenizeOptions& options) {
  constexpr char kVersion[] = "slipway tokens 3";
  if (!std::filesystem::is_regular_file(file.path)) {
    int64_t number = 0;
    text::for_each_line(file.path, number, [](const std::string&) { return false; });  // tells what is wrong with it
  }
  base::Sha256 hash;
  const auto add = [&](const std::string& text) { hash.update(text.data(), text.size() + 1); };
  add(kVersion);
  add(tokenizer.fingerprint());
  add(base::sha256_file(file.path));
  add(std::to_string(static_cast<int>(file.format)) + " " + std::to_string(options.max_length) + " " +
      std::to_string(static_cast<int>(options.rows.assistant_only)) + " " +
      std::to_string(static_cast<int>(options.rows.completion_only)) + " " + std::to_string(options.rows.tasks) + " " +
      std::to_string(static_cast<int>(options.predicts_first)) + " " +
      std::to_string(static_cast<int>(options.drops_long)));
  return hash.hex();
}

// The right to make one file's tokens. Where the file system knows no locks everyone has it.
class CacheLock {
 public:
  CacheLock(const std::filesystem::path& cache, const std::string& key)
      : path_(cache / ("." + key + ".lock")), file_(open_in(cache, path_)) {}
  // False while another has it.
  bool take() const { return flock(file_.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK; }
  // When the tokens are there, nobody needs it any more.
  void remove() const { unlink(path_.c_str()); }

 private:
  static int open_in(const std::filesystem::path& cache, const std::filesystem::path& path) {
    std::error_code failure;
    std::filesystem::create_directories(cache, failure);
    return open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  }

  std::filesystem::path path_;
  base::Descriptor file_;
};

// Waits for another process that makes tokens here. Null when a stop came first.
std::unique_ptr<const CachedTokens> tokens_of(const DataFile& file, const text::Tokenizer& tokenizer,
                                              const TokenizeOptions& options, const std::atomic<bool>& stop) {
  if (auto cached = open_token_cache(options.cache, file.key)) return cached;
  const CacheLock lock(options.cache, file.key);
  while (!lock.take()) {
    if (stop.load()) return nullptr;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  auto cached = open_token_cache(options.cache, file.key);
  if (cached) return cached;
  TokenCacheWriter writer(options.cache, file.key);
  if (!Loader(tokenizer, options, stop, writer).read(file)) return nullptr;
  cached = open_token_cache(options.cache, file.key);
  if (!cached)
    throw base::Error(base::kIo, "the tokens in " + (options.cache / file.key).string() + " cannot be read back");
  lock.remove();
  return cached;
}

}  // namespace

void name_tokens(std::vector<DataFile>& files, const text::Tokenizer& tokenizer, const TokenizeOptions& options) {
  for (DataFile& file : files) file.key = token_key(file, tokenizer, options);
}

bool are_cached(const std::vector<DataFile>& files, const std::filesystem::path& cache) {
  return std::all_of(files.begin(), files.end(),
                     [&](const DataFile& file) { return open_token_cache(cache, file.key) != nullptr; });
}

std::string Dataset::fingerprint() const {
  base::Sha256 hash;
  for (const std::string& key : keys) hash.update(key.data(), key.size());
  return hash.hex();
}

Dataset load_dataset(const std::vector<DataFile>& files, const text::Tokenizer& tokenizer,
                     const TokenizeOptions& options, const std::atomic<bool>& stop) {
  Dataset dataset;
  const bool plain = std::all_of(files.begin(), files.end(), [](const DataFile& file) {
    return file.format != text::RowFormat::kPreference && file.weight == 1;
  });
  for (const DataFile& file : files) {
    const auto cached = tokens_of(file, tokenizer, options, stop);
    if (!cached) return dataset;
    const int64_t first_document = dataset.documents.count();
    add_file(dataset, *cached, file.weight, options.seed);
    if (plain) add_rows(dataset, *cached, first_document);
    dataset.keys.push_back(file.key);
  }
  return dataset;
}

void add_mismatched(Dataset& dataset, int64_t group, int64_t max_length) {
  Documents& documents = dataset.documents;
  const int64_t count = documents.count();
  const auto answer_begin = [&](int64_t document) {
    const std::span<const uint8_t> trained = documents.trained(document);
    return static_cast<size_t>(std::find(trained.begin(), trained.end(), uint8_t{1}) - trained.begin());
  };
  dataset.mismatched.assign(static_cast<size_t>(count), -1);
  for (int64_t first = 0; first < count; first += group) {
    const int64_t last = std::min(first + group, count);
    for (int64_t i = first; i < last; ++i) {
      const int64_t other = i == first ? last - 1 : i - 1;
      const std::span<const int32_t> prompt = documents.tokens(i).first(answer_begin(i));
      const size_t begin = answer_begin(other);
      const std::span<const int32_t> answer = documents.tokens(other).subspan(begin);
      const std::span<const uint8_t> marks = documents.trained(other).subspan(begin);
      std::vector<int32_t> tokens(prompt.begin(), prompt.end());
      std::vector<uint8_t> trained(tokens.size(), 0);
      tokens.insert(tokens.end(), answer.begin(), answer.end());
      trained.insert(trained.end(), marks.begin(), marks.end());
      tokens.resize(std::min(tokens.size(), static_cast<size_t>(max_length)));
      trained.resize(tokens.size());
      dataset.mismatched[static_cast<size_t>(i)] = documents.count();
      documents.add(tokens, trained);
    }
  }
}

}  // namespace slipway::train
