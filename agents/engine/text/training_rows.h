// One line of a JSONL data set -> token ids and which of them are learnt: what train learns from is what eval scores.
// Used by train and eval.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agents/engine/text/conversation.h"

namespace slipway::text {

enum class RowFormat { kText, kPromptCompletion, kMessages, kAlpaca, kShareGpt, kPreference };

// "text", "prompt_completion", "messages", "alpaca", "sharegpt", "preference"; nothing for other names.
std::optional<RowFormat> row_format(std::string_view name);

struct TrainingRow {
  std::vector<TokenId> ids;
  std::vector<uint8_t> trained;  // one per token
  int32_t task_id = 0;           // see RowOptions::tasks
};

// Two answers to one prompt, each with the prompt in front; the answers' tokens are trained. A row of KTO, one answer
// that is liked or not, has only one of them.
struct PreferenceRow {
  std::optional<TrainingRow> chosen, rejected;
};

struct RowOptions {
  bool assistant_only = true;   // conversations: only what the assistant says is trained, else everything
  bool completion_only = true;  // prompt_completion: only the completion is trained, else everything
  int64_t tasks = 0;            // of examples with a `task_id` from 0 on, which may be missing where there is one task
};

// Any thread. The tokenizer must outlive it.
class RowEncoder {
 public:
  // Throws base::Error UNSUPPORTED when the format needs a chat template and the tokenizer has none.
  RowEncoder(const Tokenizer& tokenizer, RowFormat format, RowOptions options);

  // text: the text and the end-of-text token. prompt_completion: both and the same end. messages, alpaca (instruction,
  // input, output) and sharegpt (conversations of from and value): the chat template's rendering. Throws base::Error
  // INVALID_DATA, also for a task_id that is missing or out of range.
  TrainingRow encode(std::string_view line) const;

  // preference: {prompt, chosen, rejected}, or {prompt, completion, label}; texts, or lists of messages, whose prompt
  // may also be the beginning that chosen and rejected share. Throws base::Error INVALID_DATA.
  PreferenceRow encode_preference(std::string_view line) const;

 private:
  TrainingRow example(const nlohmann::ordered_json& row) const;
  TrainingRow plain(const std::string& prompt, const std::string& rest, bool rest_only) const;
  TrainingRow conversation(const nlohmann::ordered_json& messages, const nlohmann::ordered_json& tools,
                           bool assistant_only) const;
  TrainingRow answer(const nlohmann::ordered_json& row, const char* key) const;

  const Tokenizer& tokenizer_;
  RowFormat format_;
  RowOptions options_;
  std::optional<ConversationTokenizer> conversations_;
};

// Calls use(line) for each line of a JSONL file that is not blank, or for each row of a Parquet file as a line of JSON,
// until it returns false; `number` becomes the line's, from 1. Throws base::Error NOT_FOUND or IO for the file, and
// what parquet_rows.h says.
void for_each_line(const std::filesystem::path& path, int64_t& number,
                   const std::function<bool(const std::string& line)>& use);

// Throws base::Error INVALID_DATA naming file and line.
[[noreturn]] void throw_at_line(const std::filesystem::path& path, int64_t number, const std::string& what,
                                const std::string& advice);

}  // namespace slipway::text
