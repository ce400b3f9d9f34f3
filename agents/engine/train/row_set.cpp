#include "agents/engine/train/row_set.h"

#include <iterator>
#include <utility>

#include "agents/engine/train/data/row_blocks.h"

namespace slipway::train {

std::vector<Row> RowSet::rows_of(const std::vector<int64_t>& indices) const {
  std::vector<Row> result;
  for (const int64_t index : indices) result.push_back(row(index));
  return result;
}

int64_t RowSet::tokens(int64_t index) const {
  int64_t sum = 0;
  for (const int64_t document : row(index)) sum += data->documents.length(document);
  return sum;
}

int64_t RowSet::targets(int64_t index) const {
  int64_t sum = 0;
  for (const int64_t document : row(index)) sum += data->documents.targets(document, virtual_tokens > 0);
  return sum;
}

void add_block(RowSet& set, const std::vector<int64_t>& documents, const TrainSettings& settings) {
  std::vector<Row> rows =
      make_rows(set.data->documents, documents, settings.packing, settings.max_length, set.virtual_tokens);
  set.blocks.push_back(static_cast<int64_t>(rows.size()));
  set.rows.insert(set.rows.end(), std::make_move_iterator(rows.begin()), std::make_move_iterator(rows.end()));
}

RowSet make_row_set(const Dataset& data, const TrainSettings& settings, int32_t padding_token) {
  RowSet set{&data, {}, settings.method.virtual_tokens(), padding_token, {}};
  if (data.preferences.empty() && data.document_of_row.empty()) {
    add_block(set, data.epoch, settings);
    return set;
  }
  if (data.preferences.empty()) {
    const RowBlocks blocks(static_cast<int64_t>(data.document_of_row.size()), settings.shuffle, settings.seed);
    for (int64_t block = 0; block < blocks.count(); ++block) {
      std::vector<int64_t> documents;
      for (const int64_t row : blocks.rows(block)) {
        const int64_t document = data.document_of_row[static_cast<size_t>(row)];
        if (document >= 0) documents.push_back(document);
      }
      add_block(set, documents, settings);
    }
    return set;
  }
  for (const int64_t pair : data.epoch) {
    const Preference& preference = data.preferences[static_cast<size_t>(pair)];
    Row row;
    if (preference.chosen >= 0) row.push_back(preference.chosen);
    if (preference.rejected >= 0) row.push_back(preference.rejected);
    set.rows.push_back(std::move(row));
  }
  set.blocks = {set.count()};
  return set;
}

}  // namespace slipway::train
