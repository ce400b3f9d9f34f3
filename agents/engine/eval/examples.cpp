#include "agents/engine/eval/examples.h"

#include <algorithm>
#include <utility>

#include "backend/base/error.h"

namespace slipway::eval {

ExampleEncoder::ExampleEncoder(const text::Tokenizer& tokenizer, const ExampleOptions& options)
    : options_(options), rows_(tokenizer, options.format, {options.assistant_only, true, options.tasks}) {}

Example ExampleEncoder::encode(std::string_view line) const {
  text::TrainingRow row = rows_.encode(line);
  if (!row.trained.empty()) row.trained[0] = 0;
  return {std::move(row.ids), std::move(row.trained), row.task_id};
}

Examples ExampleEncoder::read(const std::filesystem::path& path) const {
  Examples examples;
  int64_t number = 0;
  text::for_each_line(path, number, [&](const std::string& line) {
    if (options_.limit != 0 && examples.rows >= options_.limit) return false;
    Example example;
    try {
      example = encode(line);
    } catch (const base::Error& error) {
      text::throw_at_line(path, number, error.what(), error.advice());
    }
    ++examples.rows;
    const bool truncated = static_cast<int64_t>(example.tokens.size()) > options_.max_length;
    if (truncated) {
      example.tokens.resize(static_cast<size_t>(options_.max_length));
      example.scored.resize(static_cast<size_t>(options_.max_length));
    }
    const auto scored =
        std::count_if(example.scored.begin(), example.scored.end(), [](uint8_t one) { return one != 0; });
    if (scored == 0) {
      ++examples.dropped_rows;
      return true;
    }
    examples.truncated_rows += truncated ? 1 : 0;
    examples.scored_tokens += scored;
    examples.kept.push_back(std::move(example));
    return true;
  });
  return examples;
}

}  // namespace slipway::eval
