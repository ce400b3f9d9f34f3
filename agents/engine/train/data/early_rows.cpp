#include "agents/engine/train/data/early_rows.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "agents/engine/train/data/encode_rows.h"

namespace slipway::train {

namespace {

// Steps come before the tokens of later ones: the thread that makes them, and its helpers, give way.
constexpr int kNiceness = 10;

bool has_blocks(const std::vector<DataFile>& files) {
  return std::all_of(files.begin(), files.end(), [](const DataFile& file) {
    return file.format != text::RowFormat::kPreference && file.weight == 1;
  });
}

}  // namespace

std::unique_ptr<EarlyRows> EarlyRows::begin(const std::vector<DataFile>& files, const text::Tokenizer& tokenizer,
                                            const TokenizeOptions& options, bool shuffle) {
  if (!has_blocks(files)) return nullptr;
  std::unique_ptr<EarlyRows> rows(new EarlyRows(files, tokenizer, options, shuffle));
  return rows->blocks_->count() > 1 ? std::move(rows) : nullptr;
}

EarlyRows::EarlyRows(std::vector<DataFile> files, const text::Tokenizer& tokenizer, const TokenizeOptions& options,
                     bool shuffle)
    : files_(std::move(files)), tokenizer_(tokenizer), options_(options) {
  int64_t rows = 0;
  for (const DataFile& file : files_) {
    rows += indices_.emplace_back(index_rows(file.path))->count();
    encoders_.emplace_back(tokenizer_, file.format, options_.rows);
  }
  blocks_.emplace(rows, shuffle, options.seed);
}

EarlyRows::~EarlyRows() {
  stop_.store(true);
  if (making_.valid()) making_.wait();
}

std::optional<std::vector<int64_t>> EarlyRows::next_block(Dataset& dataset) {
  if (next_ == blocks_->count()) return std::nullopt;
  dataset.keys.clear();
  for (const DataFile& file : files_) dataset.keys.push_back(file.key);
  const std::vector<int64_t> rows = blocks_->rows(next_++);
  std::vector<int64_t> added;
  int64_t first = 0;  // row of the file
  auto at = rows.begin();
  for (size_t i = 0; i < files_.size(); ++i) {
    const int64_t last = first + indices_[i]->count();
    std::vector<int64_t> of_file;
    for (; at != rows.end() && *at < last; ++at) of_file.push_back(*at - first);
    first = last;
    std::vector<Line> lines = indices_[i]->read(of_file);
    encode_lines(encoders_[i], false, options_.threads, stop_, lines);
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
  if (!making_.valid() && !whole_) {
    making_ = std::async(std::launch::async, [this] {
      static_cast<void>(setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNiceness));
      return load_dataset(files_, tokenizer_, options_, stop_);
    });
  }
  return added;
}

bool EarlyRows::is_whole(std::chrono::milliseconds patience) {
  if (!whole_ && making_.wait_for(patience) == std::future_status::ready) whole_ = making_.get();
  return whole_.has_value();
}

}  // namespace slipway::train
