#include "agents/engine/train/data/row_index.h"

#include <string>
#include <string_view>
#include <utility>

#include "agents/engine/model/mapped_file.h"
#include "agents/engine/text/parquet_rows.h"

namespace slipway::train {

namespace {

std::string_view all_of(const model::MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

// Lines that are not blank.
class LineIndex : public RowIndex {
 public:
  explicit LineIndex(const std::filesystem::path& path) : file_(path) {
    const std::string_view all = all_of(file_);
    int64_t number = 0;
    for (size_t begin = 0; begin < all.size();) {
      ++number;
      const size_t found = all.find('\n', begin), end = found == std::string_view::npos ? all.size() : found;
      if (all.substr(begin, end - begin).find_first_not_of(" \t\r") != std::string_view::npos) {
        begins_.push_back(static_cast<int64_t>(begin));
        numbers_.push_back(number);
      }
      begin = end + 1;
    }
  }

  int64_t count() const override { return static_cast<int64_t>(begins_.size()); }

  std::vector<Line> read(const std::vector<int64_t>& rows) const override {
    std::vector<Line> lines;
    for (const int64_t row : rows) {
      const auto i = static_cast<size_t>(row);
      const std::string_view rest = all_of(file_).substr(static_cast<size_t>(begins_[i]));
      lines.push_back({numbers_[i], std::string(rest.substr(0, rest.find('\n'))), {}, {}});
    }
    return lines;
  }

 private:
  model::MappedFile file_;
  std::vector<int64_t> begins_, numbers_;  // of each row: its first byte, and its line, from 1
};

class ParquetIndex : public RowIndex {
 public:
  explicit ParquetIndex(std::filesystem::path path) : path_(std::move(path)), count_(text::count_parquet_rows(path_)) {}

  int64_t count() const override { return count_; }

  std::vector<Line> read(const std::vector<int64_t>& rows) const override {
    std::vector<Line> lines;
    text::read_parquet_rows(path_, rows, [&](int64_t row, const std::string& text) {
      lines.push_back({row + 1, text, {}, {}});
    });
    return lines;
  }

 private:
  std::filesystem::path path_;
  int64_t count_;
};

}  // namespace

std::unique_ptr<const RowIndex> index_rows(const std::filesystem::path& path) {
  if (text::is_parquet(path)) return std::make_unique<ParquetIndex>(path);
  return std::make_unique<LineIndex>(path);
}

}  // namespace slipway::train
