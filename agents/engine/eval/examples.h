// Held-out rows of a JSONL file -> tokens and which of them are scored. Used by perplexity.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "agents/engine/text/training_rows.h"

namespace slipway::eval {

struct Example {
  std::vector<int32_t> tokens;
  // One per token; the first is never scored: nothing comes before it, or an adapter's virtual tokens alone, and the
  // numbers are to be compared with those of the base model.
  std::vector<uint8_t> scored;
  int64_t task_id = 0;  // see ExampleOptions::tasks
};

struct Examples {
  std::vector<Example> kept;
  int64_t rows = 0;            // that were read
  int64_t truncated_rows = 0;  // cut to max_length
  int64_t dropped_rows = 0;    // no scored token left
  int64_t scored_tokens = 0;
};

struct ExampleOptions {
  text::RowFormat format = text::RowFormat::kMessages;
  bool assistant_only = true;  // messages: score what the assistant says, else everything
  int64_t max_length = 0;      // tokens of a row that count, from its beginning
  int64_t limit = 0;           // rows at most; 0: all
  int64_t tasks = 0;           // as text::RowOptions
};

// Rows as the model sees them, the same as slipway-train makes of them (text/training_rows.h). The tokenizer must
// outlive it.
class ExampleEncoder {
 public:
  // Throws base::Error when conversations are to be read and the tokenizer has no chat template.
  ExampleEncoder(const text::Tokenizer& tokenizer, const ExampleOptions& options);

  // One line of a JSONL file. Throws base::Error.
  Example encode(std::string_view line) const;

  // All rows of a file. Throws base::Error NOT_FOUND, IO, or INVALID_DATA naming file and line.
  Examples read(const std::filesystem::path& path) const;

 private:
  ExampleOptions options_;
  text::RowEncoder rows_;
};

}  // namespace slipway::eval
