// One row of a dataset, whatever format it came in, and the formats themselves.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>

namespace slipway::prep {

// What is wrong with one row; the caller knows file and line.
class RowFault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

enum class Format { kText, kPromptCompletion, kAlpaca, kShareGpt, kMessages, kPreference };

Format parse_format(const std::string& name);

enum class RowKind { kText, kConversation, kPreference };

RowKind kind_of(Format format);

struct Row {
  RowKind kind = RowKind::kConversation;
  int64_t task_id = -1;             // of multitask prompt tuning; -1: none
  nlohmann::ordered_json text;      // kText: a string
  nlohmann::ordered_json messages;  // kConversation: [{"role", "content", …}]
  nlohmann::ordered_json tools;     // kConversation: what came beside the messages; else null
  nlohmann::ordered_json prompt;    // kPreference: a string, messages, or null
  nlohmann::ordered_json chosen;    // kPreference: a string or messages
  nlohmann::ordered_json rejected;  // kPreference: as chosen

  // Calls `change` on every text of the row that a model reads or writes, in order.
  void for_each_text(const std::function<void(std::string&)>& change);
  void for_each_text(const std::function<void(const std::string&)>& visit) const;

  // Unicode characters of all texts.
  int64_t characters() const;
  // Why nothing can be learned from the row: "empty" (a part of it has no text), "no_answer" (the assistant says
  // nothing); or "".
  std::string useless() const;
};

// Role (prompt, completion, …) -> column name, for the roles that do not have their usual column. Dotted: a nested one.
using Mapping = std::map<std::string, std::string>;

// Parses one line of a JSONL file. With `tasks` the row says whose it is in its column task_id, from 0 to tasks - 1;
// where there is one task, it may leave it out. Throws RowFault: what is wrong, and what was expected.
Row parse_row(std::string_view line, Format format, const Mapping& mapping, int64_t tasks = 0);

// The row as one line (with '\n') of the output format. Throws RowFault when the format cannot hold the row.
std::string format_row(const Row& row, Format output);

// Number of Unicode characters of valid UTF-8.
int64_t count_characters(std::string_view text);

}  // namespace slipway::prep
