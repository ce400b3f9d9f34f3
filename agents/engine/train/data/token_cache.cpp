#include "agents/engine/train/data/token_cache.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "agents/engine/model/mapped_file.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::train {

namespace {

namespace fs = std::filesystem;

constexpr char kTokens[] = "tokens.i32", kTrained[] = "trained.u8", kOffsets[] = "offsets.i64";
constexpr char kTasks[] = "tasks.i32", kRows[] = "rows.i64";
constexpr char kPreferences[] = "preferences.i64", kIndex[] = "index.json";
constexpr size_t kMaxIndexBytes = 4096;

struct Mapped {
  explicit Mapped(const fs::path& folder)
      : tokens(folder / kTokens),
        trained(folder / kTrained),
        offsets(folder / kOffsets),
        tasks(folder / kTasks),
        rows(folder / kRows),
        preferences(folder / kPreferences) {}
  model::MappedFile tokens, trained, offsets, tasks, rows, preferences;
};

template <typename T>
std::span<const T> span_of(const model::MappedFile& file) {
  return {reinterpret_cast<const T*>(file.bytes().data()), file.bytes().size() / sizeof(T)};
}

}  // namespace

void DatasetStatistics::add(const DatasetStatistics& other) {
  rows += other.rows;
  dropped_rows += other.dropped_rows;
  truncated_rows += other.truncated_rows;
  tokens += other.tokens;
  trained_tokens += other.trained_tokens;
  highest_token = std::max(highest_token, other.highest_token);
}

std::unique_ptr<const CachedTokens> open_token_cache(const fs::path& folder, const std::string& key) {
  const fs::path place = folder / key;
  std::error_code failure;
  if (!fs::exists(place / kIndex, failure)) return nullptr;
  const auto index = nlohmann::json::parse(base::read_file(place / kIndex, kMaxIndexBytes), nullptr, false);
  if (!index.is_object()) return nullptr;
  const auto mapped = std::make_shared<const Mapped>(place);
  auto cached = std::make_unique<CachedTokens>();
  cached->documents = {span_of<int32_t>(mapped->tokens), span_of<uint8_t>(mapped->trained),
                       span_of<int64_t>(mapped->offsets), span_of<int32_t>(mapped->tasks), mapped};
  cached->rows = span_of<int64_t>(mapped->rows);
  cached->preferences = span_of<Preference>(mapped->preferences);
  const auto number = [&](const char* name) { return index.value(name, int64_t{-1}); };
  cached->statistics = {number("rows"),   number("dropped_rows"),   number("truncated_rows"),
                        number("tokens"), number("trained_tokens"), static_cast<int32_t>(number("highest_token"))};
  const DocumentRun& run = cached->documents;
  const bool whole = !run.offsets.empty() && static_cast<int64_t>(run.tokens.size()) == number("tokens") &&
                     run.trained.size() == run.tokens.size() &&
                     static_cast<int64_t>(run.offsets.size()) == number("documents") + 1 &&
                     run.tasks.size() + 1 == run.offsets.size() && cached->rows.size() == run.tasks.size() &&
                     run.offsets.front() == 0 && run.offsets.back() == number("tokens") &&
                     std::is_sorted(run.offsets.begin(), run.offsets.end()) &&
                     static_cast<int64_t>(cached->preferences.size()) == number("preferences");
  if (!whole) return nullptr;
  return cached;
}

TokenCacheWriter::TokenCacheWriter(fs::path folder, std::string key)
    : folder_(std::move(folder)),
      writing_(folder_ / ("." + key + "." + std::to_string(getpid()) + ".writing")),
      key_(std::move(key)) {
  std::error_code failure;
  fs::remove_all(writing_, failure);
  fs::create_directories(writing_, failure);
  if (failure) throw base::system_error("cannot make the folder " + writing_.string(), failure.value());
  tokens_ = open(kTokens);
  trained_ = open(kTrained);
  offsets_ = open(kOffsets);
  tasks_ = open(kTasks);
  rows_ = open(kRows);
  preferences_ = open(kPreferences);
  append(offsets_, std::as_bytes(std::span(&end_, 1)));
}

TokenCacheWriter::~TokenCacheWriter() {
  std::error_code ignored;
  fs::remove_all(writing_, ignored);
}

TokenCacheWriter::File TokenCacheWriter::open(const char* name) {
  File file(std::fopen((writing_ / name).c_str(), "wb"));
  if (!file) throw base::system_error("cannot write " + (writing_ / name).string(), errno);
  return file;
}

void TokenCacheWriter::append(const File& file, std::span<const std::byte> bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), file.get()) != bytes.size()) {
    throw base::system_error("cannot write the tokens to " + writing_.string(), errno);
  }
}

void TokenCacheWriter::add(std::span<const int32_t> tokens, std::span<const uint8_t> trained, int32_t task,
                           int64_t row) {
  append(tokens_, std::as_bytes(tokens));
  append(trained_, std::as_bytes(trained));
  end_ += static_cast<int64_t>(tokens.size());
  ++count_;
  append(offsets_, std::as_bytes(std::span(&end_, 1)));
  append(tasks_, std::as_bytes(std::span(&task, 1)));
  append(rows_, std::as_bytes(std::span(&row, 1)));
}

void TokenCacheWriter::add(const Preference& preference) {
  append(preferences_, std::as_bytes(std::span(&preference, 1)));
}

void TokenCacheWriter::finish(const DatasetStatistics& statistics) {
  int64_t preferences = std::ftell(preferences_.get()) / static_cast<int64_t>(sizeof(Preference));
  for (File* file : {&tokens_, &trained_, &offsets_, &tasks_, &rows_, &preferences_}) {
    if (std::fflush(file->get()) != 0)
      throw base::system_error("cannot write the tokens to " + writing_.string(), errno);
    file->reset();
  }
  const nlohmann::ordered_json index = {{"documents", count_},
                                        {"preferences", preferences},
                                        {"rows", statistics.rows},
                                        {"dropped_rows", statistics.dropped_rows},
                                        {"truncated_rows", statistics.truncated_rows},
                                        {"tokens", statistics.tokens},
                                        {"trained_tokens", statistics.trained_tokens},
                                        {"highest_token", statistics.highest_token}};
  base::write_file_atomically(writing_ / kIndex, index.dump(1) + "\n");
  for (const char* name : {kTokens, kTrained, kOffsets, kTasks, kRows, kPreferences}) base::sync_path(writing_ / name);
  std::error_code failure;
  fs::rename(writing_, folder_ / key_, failure);
  if (!failure) return;
  if (open_token_cache(folder_, key_) != nullptr) return;  // another was faster
  fs::remove_all(folder_ / key_, failure);                 // a damaged one
  fs::rename(writing_, folder_ / key_, failure);
  if (failure) throw base::system_error("cannot write " + (folder_ / key_).string(), failure.value());
}

}  // namespace slipway::train
