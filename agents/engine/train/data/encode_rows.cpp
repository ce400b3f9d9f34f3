#include "agents/engine/train/data/encode_rows.h"

#include <algorithm>
#include <thread>
#include <utility>

namespace slipway::train {

void encode_lines(const text::RowEncoder& encoder, bool preferences, int threads, const std::atomic<bool>& stop,
                  std::vector<Line>& lines) {
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < lines.size() && !stop.load(); i = next++) {
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
  const size_t count = std::min(static_cast<size_t>(std::max(1, threads)), lines.size() / 16 + 1);
  for (size_t i = 1; i < count; ++i) helpers.emplace_back(work);
  work();
  for (std::thread& helper : helpers) helper.join();
}

int64_t cut_row(const TokenizeOptions& options, text::TrainingRow& row, bool& truncated) {
  if (static_cast<int64_t>(row.ids.size()) > options.max_length) {
    if (options.drops_long) return 0;
    row.ids.resize(static_cast<size_t>(options.max_length));
    row.trained.resize(static_cast<size_t>(options.max_length));
    truncated = true;
  }
  if (row.trained.empty()) return 0;
  return std::count(row.trained.begin() + (options.predicts_first ? 0 : 1), row.trained.end(), uint8_t{1});
}

}  // namespace slipway::train
