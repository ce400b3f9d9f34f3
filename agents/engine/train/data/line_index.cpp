#include "agents/engine/train/data/line_index.h"

#include <cstring>

namespace slipway::train {

namespace {

std::string_view all_of(const model::MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

}  // namespace

LineIndex::LineIndex(const std::filesystem::path& path) : file_(path) {
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

std::string_view LineIndex::text(int64_t row) const {
  const std::string_view rest = all_of(file_).substr(static_cast<size_t>(begins_[static_cast<size_t>(row)]));
  return rest.substr(0, rest.find('\n'));
}

}  // namespace slipway::train
