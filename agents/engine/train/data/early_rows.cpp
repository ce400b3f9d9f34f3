#include "agents/engine/train/data/early_rows.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "agents/engine/train/data/encode_rows.h"

namespace slipway::train {

namespace {

// Steps come before the tokens of later ones: the thread that makes them, and its helpers, give way.
constexpr int kNiceness = 10;

bool has_blocks(const std::vector<DataFile>& files) {
  return std::all_of(files.begin(), files.end(), [](const DataFile& file) {
    return file.format != text::RowFormat::kPreference && file.weight == 1 && file.path.extension() != ".parquet";
  });
}

}  // namespace

std::unique_ptr<EarlyRows> EarlyRows::begin(const std::vector<DataFile>& files, const text::Tokenizer& tokenizer,
                                            const TokenizeOptions& options, bool shuffle) {
  if (!has_blocks(files)) return nullptr;
  std::vector<std::string> keys;
  bool cached = true;
  for (const DataFile& file : files) {
    keys.push_back(token_key(file, tokenizer, options));
    cached = cached && open_token_cache(options.cache, keys.back()) != nullptr;
  }
  if (cached) return nullptr;
  std::unique_ptr<EarlyRows> rows(new EarlyRows(files, tokenizer, options, std::move(keys), shuffle));
  return rows->blocks_->count() > 1 ? std::move(rows) : nullptr;
}

EarlyRows::EarlyRows(std::vector<DataFile> files, const text::Tokenizer& tokenizer, const TokenizeOptions& options,
                     std::vector<std::string> keys, bool shuffle)
    : files_(std::move(files)), tokenizer_(tokenizer), options_(options), keys_(std::move(keys)) {
  int64_t rows = 0;
  for (const DataFile& file : files_) rows += lines_.emplace_back(std::make_unique<LineIndex>(file.path))->count();
  blocks_.emplace(rows, shuffle, options.seed);
}

EarlyRows::~EarlyRows() {
  stop_.store(true);
  if (whole_.valid()) whole_.wait();
}

std::optional<std::vector<int64_t>> EarlyRows::next_block(Dataset& dataset) {
  if (next_ == blocks_->count()) return std::nullopt;
  dataset.keys = keys_;
  const std::vector<int64_t> rows = blocks_->rows(next_++);
  std::vector<int64_t> added;
  int64_t first = 0;  // row of the file
  auto at = rows.begin();
  for (size_t i = 0; i < files_.size(); ++i) {
    const int64_t last = first + lines_[i]->count();
    std::vector<Line> lines;
    for (; at != rows.end() && *at < last; ++at) {
      lines.push_back({lines_[i]->number(*at - first), std::string(lines_[i]->text(*at - first)), {}, {}});
    }
    first = last;
    encode_lines(text::RowEncoder(tokenizer_, files_[i].format, options_.rows), false, options_.threads, stop_, lines);
    for (Line& line : lines) {
      if (line.error) text::throw_at_line(files_[i].path, line.number, line.error->what(), line.error->advice());
      text::TrainingRow& row = line.rows.front();
      bool truncated = false;
      if (cut_row(options_, row, truncated) == 0) continue;
      added.push_back(dataset.documents.count());
      dataset.documents.add(row.ids, row.trained, row.task_id);
      int32_t& highest = dataset.statistics.highest_token;
      highest = std::max(highest, *std::max_element(row.ids.begin(), row.ids.end()));
    }
  }
  // The first steps need all cores for a moment; from now on there is time.
  if (!whole_.valid()) {
    whole_ = std::async(std::launch::async, [this] {
      static_cast<void>(setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNiceness));
      return load_dataset(files_, tokenizer_, options_, stop_);
    });
  }
  return added;
}

std::optional<Dataset> EarlyRows::whole(bool wait, const std::atomic<bool>& stop) {
  using std::chrono::milliseconds;
  while (whole_.valid() && whole_.wait_for(milliseconds(wait ? 100 : 0)) != std::future_status::ready) {
    if (!wait || stop.load()) return std::nullopt;
  }
  return whole_.get();
}

}  // namespace slipway::train
