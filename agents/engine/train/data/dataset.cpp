#include "agents/engine/train/data/dataset.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <thread>
#include <utility>

#include "agents/engine/text/tokenizer.h"
#include "agents/engine/train/data/random.h"
#include "backend/base/error.h"
#include "backend/base/sha256.h"

namespace slipway::train {

namespace {

constexpr size_t kLinesAtOnce = 4096;
constexpr size_t kBytesAtOnce = size_t{64} << 20U;

// A line, and what became of it.
struct Line {
  int64_t number = 0;
  std::string text;
  std::vector<text::TrainingRow> rows;  // one; of a preference chosen and rejected, either may be empty
  std::optional<base::Error> error;
};

class Loader {
 public:
  Loader(const text::Tokenizer& tokenizer, const TokenizeOptions& options, const std::atomic<bool>& stop,
         Dataset& dataset)
      : tokenizer_(tokenizer), options_(options), stop_(stop), dataset_(dataset) {}

  void read(const DataFile& file) {
    const text::RowEncoder encoder(tokenizer_, file.format, options_.rows);
    const bool preferences = file.format == text::RowFormat::kPreference;
    const auto first = static_cast<int64_t>(preferences ? dataset_.preferences.size()
                                                        : static_cast<size_t>(dataset_.documents.count()));
    std::vector<Line> lines;
    size_t bytes = 0;
    const auto flush = [&] {
      encode(encoder, preferences, lines);
      for (const Line& line : lines) {
        if (line.error) text::throw_at_line(file.path, line.number, line.error->what(), line.error->advice());
        add(line.rows, preferences);
      }
      lines.clear();
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
    const auto last = static_cast<int64_t>(preferences ? dataset_.preferences.size()
                                                       : static_cast<size_t>(dataset_.documents.count()));
    add_to_epoch(first, last, file.weight);
  }

 private:
  void encode(const text::RowEncoder& encoder, bool preferences, std::vector<Line>& lines) const {
    std::atomic<size_t> next = 0;
    const auto work = [&] {
      for (size_t i = next++; i < lines.size() && !stop_.load(); i = next++) {
        Line& line = lines[i];
        try {
          if (preferences) {
            text::PreferenceRow row = encoder.encode_preference(line.text);
            line.rows.push_back(row.chosen ? std::move(*row.chosen) : text::TrainingRow());
            line.rows.push_back(row.rejected ? std::move(*row.rejected) : text::TrainingRow());
          } else {
            line.rows.push_back(encoder.encode(line.text));
          }
        } catch (const base::Error& error) {
          line.error = error;
        }
      }
    };
    std::vector<std::thread> helpers;
    const size_t threads = std::min(static_cast<size_t>(std::max(1, options_.threads)), lines.size() / 16 + 1);
    for (size_t i = 1; i < threads; ++i) helpers.emplace_back(work);
    work();
    for (std::thread& helper : helpers) helper.join();
  }

  // Cuts to max_length. Returns how many tokens are trained; the first has nothing before it that could predict it.
  int64_t cut(text::TrainingRow& row, bool& truncated) const {
    if (static_cast<int64_t>(row.ids.size()) > options_.max_length) {
      row.ids.resize(static_cast<size_t>(options_.max_length));
      row.trained.resize(static_cast<size_t>(options_.max_length));
      truncated = true;
    }
    return row.trained.empty() ? 0 : std::count(row.trained.begin() + 1, row.trained.end(), uint8_t{1});
  }

  // Adds one row, or counts why not.
  void add(std::vector<text::TrainingRow> rows, bool preferences) {
    DatasetStatistics& statistics = dataset_.statistics;
    if (rows.empty()) return;  // a stop came first
    ++statistics.rows;
    bool truncated = false;
    int64_t tokens = 0, targets = 0;
    for (text::TrainingRow& row : rows) {
      if (row.ids.empty() && preferences) continue;
      const int64_t trained = cut(row, truncated);
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
      (i == 0 ? preference.chosen : preference.rejected) = dataset_.documents.count();
      dataset_.documents.add(rows[i].ids, rows[i].trained);
    }
    if (preferences) dataset_.preferences.push_back(preference);
  }

  void add_to_epoch(int64_t first, int64_t last, double weight) {
    const double whole = std::floor(weight);
    for (int64_t copy = 0; copy < static_cast<int64_t>(whole); ++copy) {
      for (int64_t i = first; i < last; ++i) dataset_.epoch.push_back(i);
    }
    const auto part = static_cast<int64_t>(std::llround((weight - whole) * static_cast<double>(last - first)));
    if (part == 0) return;
    std::vector<int64_t> drawn =
        shuffled_order(last - first, mix_seed(options_.seed, "source", static_cast<uint64_t>(first)));
    drawn.resize(static_cast<size_t>(part));
    std::sort(drawn.begin(), drawn.end());
    for (const int64_t i : drawn) dataset_.epoch.push_back(first + i);
  }

  const text::Tokenizer& tokenizer_;
  const TokenizeOptions& options_;
  const std::atomic<bool>& stop_;
  Dataset& dataset_;
};

}  // namespace

std::string Dataset::fingerprint() const {
  base::Sha256 hash;
  hash.update(documents.tokens.data(), documents.tokens.size() * sizeof(int32_t));
  hash.update(documents.trained.data(), documents.trained.size());
  hash.update(documents.offsets.data(), documents.offsets.size() * sizeof(int64_t));
  hash.update(preferences.data(), preferences.size() * sizeof(Preference));
  hash.update(epoch.data(), epoch.size() * sizeof(int64_t));
  return hash.hex();
}

Dataset load_dataset(const std::vector<DataFile>& files, const text::Tokenizer& tokenizer,
                     const TokenizeOptions& options, const std::atomic<bool>& stop) {
  Dataset dataset;
  Loader loader(tokenizer, options, stop, dataset);
  for (const DataFile& file : files) {
    if (!stop.load()) loader.read(file);
  }
  return dataset;
}

void add_mismatched(Dataset& dataset, int64_t group, int64_t max_length) {
  Documents& documents = dataset.documents;
  const int64_t count = documents.count();
  const auto answer_begin = [&](int64_t document) {
    const auto begin = documents.trained.begin() + documents.offsets[static_cast<size_t>(document)];
    return std::find(begin, begin + documents.length(document), uint8_t{1}) - documents.trained.begin();
  };
  dataset.mismatched.assign(static_cast<size_t>(count), -1);
  for (int64_t first = 0; first < count; first += group) {
    const int64_t last = std::min(first + group, count);
    for (int64_t i = first; i < last; ++i) {
      const int64_t other = i == first ? last - 1 : i - 1;
      const int64_t prompt_begin = documents.offsets[static_cast<size_t>(i)], prompt_end = answer_begin(i);
      const int64_t other_begin = answer_begin(other), other_end = documents.offsets[static_cast<size_t>(other) + 1];
      std::vector<int32_t> tokens(documents.tokens.begin() + prompt_begin, documents.tokens.begin() + prompt_end);
      std::vector<uint8_t> trained(tokens.size(), 0);
      tokens.insert(tokens.end(), documents.tokens.begin() + other_begin, documents.tokens.begin() + other_end);
      trained.insert(trained.end(), documents.trained.begin() + other_begin, documents.trained.begin() + other_end);
      tokens.resize(std::min(tokens.size(), static_cast<size_t>(max_length)));
      trained.resize(tokens.size());
      dataset.mismatched[static_cast<size_t>(i)] = documents.count();
      documents.add(tokens, trained);
    }
  }
}

}  // namespace slipway::train
