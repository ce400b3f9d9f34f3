#include "agents/engine/text/training_rows.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <utility>

#include "agents/engine/text/parquet_rows.h"
#include "backend/base/error.h"

namespace slipway::text {

namespace {

using nlohmann::ordered_json;

constexpr size_t kMaxLineBytes = size_t{64} << 20U;
constexpr int kMaxDepth = 64;
constexpr char kRowAdvice[] = "correct the line, or remove it";

base::Error bad_row(const std::string& what) { return {base::kInvalidData, what, kRowAdvice}; }

const ordered_json& field(const ordered_json& row, const char* key) {
  const auto found = row.find(key);
  if (found == row.end()) throw bad_row(std::string("the field '") + key + "' is missing");
  return *found;
}

const std::string& text_field(const ordered_json& row, const char* key) {
  const ordered_json& value = field(row, key);
  if (!value.is_string()) throw bad_row(std::string("the field '") + key + "' is not a string");
  return value.get_ref<const std::string&>();
}

std::string optional_text(const ordered_json& row, const char* key) {
  const auto found = row.find(key);
  return found == row.end() || found->is_null() ? std::string() : text_field(row, key);
}

ordered_json message(const char* role, const std::string& content) {
  return ordered_json{{"role", role}, {"content", content}};
}

const ordered_json& checked_messages(const ordered_json& messages, const std::string& name) {
  if (!messages.is_array() || messages.empty()) throw bad_row("'" + name + "' is not a list of messages");
  for (size_t i = 0; i < messages.size(); ++i) {
    const ordered_json& item = messages[i];
    const std::string where = name + "[" + std::to_string(i) + "]";
    if (!item.is_object()) throw bad_row(where + " is not an object");
    const auto role = item.find("role");
    if (role == item.end() || !role->is_string()) throw bad_row(where + " has no role");
    const auto content = item.find("content");
    if (content == item.end() ? !item.contains("tool_calls") : !content->is_string() && !content->is_null()) {
      throw bad_row(where + " has no content that is a string");
    }
  }
  return messages;
}

ordered_json alpaca_messages(const ordered_json& row) {
  ordered_json messages = ordered_json::array();
  if (const std::string system = optional_text(row, "system"); !system.empty()) {
    messages.push_back(message("system", system));
  }
  std::string question = text_field(row, "instruction");
  const std::string input = optional_text(row, "input");
  if (!input.empty()) question += (question.empty() ? "" : "\n\n") + input;
  messages.push_back(message("user", question));
  messages.push_back(message("assistant", text_field(row, "output")));
  return messages;
}

ordered_json sharegpt_messages(const ordered_json& row) {
  static const std::map<std::string, const char*> kSpeakers = {
      {"human", "user"},          {"user", "user"},      {"gpt", "assistant"},   {"chatgpt", "assistant"},
      {"assistant", "assistant"}, {"bing", "assistant"}, {"bard", "assistant"},  {"model", "assistant"},
      {"system", "system"},       {"tool", "tool"},      {"observation", "tool"}};
  const ordered_json& turns = field(row, "conversations");
  if (!turns.is_array() || turns.empty()) throw bad_row("'conversations' is not a list of turns");
  ordered_json messages = ordered_json::array();
  if (const std::string system = optional_text(row, "system"); !system.empty()) {
    messages.push_back(message("system", system));
  }
  for (size_t i = 0; i < turns.size(); ++i) {
    const ordered_json& turn = turns[i];
    const std::string where = "conversations[" + std::to_string(i) + "]";
    if (!turn.is_object()) throw bad_row(where + " is not an object");
    const auto from = turn.find(turn.contains("from") ? "from" : "role");
    const auto value = turn.find(turn.contains("value") ? "value" : "content");
    if (from == turn.end() || !from->is_string()) throw bad_row(where + " has no 'from'");
    if (value == turn.end() || !value->is_string()) throw bad_row(where + " has no 'value' that is a string");
    const auto speaker = kSpeakers.find(from->get<std::string>());
    if (speaker == kSpeakers.end()) throw bad_row(where + ".from is none of human, gpt, system and tool");
    messages.push_back(message(speaker->second, value->get<std::string>()));
  }
  return messages;
}

ordered_json parse_bounded(std::string_view line) {
  return ordered_json::parse(line, [](int depth, ordered_json::parse_event_t, ordered_json&) {
    if (depth > kMaxDepth) throw bad_row("the line is nested too deeply");
    return true;
  });
}

ordered_json parse(std::string_view line) {
  if (line.size() > kMaxLineBytes) throw bad_row("the line is longer than 64 MiB");
  ordered_json row;
  try {
    // Most lines have too few brackets to be nested deeply, and are read without looking: that takes half as long.
    const auto opens = std::count_if(line.begin(), line.end(), [](char c) { return c == '{' || c == '['; });
    row = opens <= kMaxDepth ? ordered_json::parse(line) : parse_bounded(line);
  } catch (const ordered_json::exception&) {
    throw bad_row("the line is not JSON in UTF-8");
  }
  if (!row.is_object()) throw bad_row("the line is not a JSON object");
  return row;
}

ordered_json tools_of(const ordered_json& row) {
  const auto tools = row.find("tools");
  return tools == row.end() ? ordered_json() : *tools;
}

// As TRL: where a merge changes the prompt's end for one answer, the other begins there too.
void begin_together(TrainingRow& one, TrainingRow& other) {
  const auto begin_of = [](const TrainingRow& row) {
    return std::find(row.trained.begin(), row.trained.end(), uint8_t{1}) - row.trained.begin();
  };
  const auto begin = std::min(begin_of(one), begin_of(other));
  for (TrainingRow* row : {&one, &other}) {
    std::fill(row->trained.begin() + begin, row->trained.begin() + begin_of(*row), uint8_t{1});
  }
}

int32_t task_of(const ordered_json& row, int64_t tasks) {
  if (tasks == 1 && !row.contains("task_id")) return 0;
  const ordered_json& task = field(row, "task_id");
  if (task.is_number_integer() && task >= 0 && task < tasks) return task.get<int32_t>();
  throw bad_row("the field 'task_id' is not a whole number from 0 to " + std::to_string(tasks - 1));
}

}  // namespace

std::optional<RowFormat> row_format(std::string_view name) {
  static const std::map<std::string_view, RowFormat> kFormats = {
      {"text", RowFormat::kText},         {"prompt_completion", RowFormat::kPromptCompletion},
      {"messages", RowFormat::kMessages}, {"alpaca", RowFormat::kAlpaca},
      {"sharegpt", RowFormat::kShareGpt}, {"preference", RowFormat::kPreference}};
  const auto found = kFormats.find(name);
  return found == kFormats.end() ? std::nullopt : std::optional(found->second);
}

RowEncoder::RowEncoder(const Tokenizer& tokenizer, RowFormat format, RowOptions options)
    : tokenizer_(tokenizer), format_(format), options_(options) {
  const bool may_be_plain =
      format == RowFormat::kText || format == RowFormat::kPromptCompletion || format == RowFormat::kPreference;
  if (!may_be_plain || !tokenizer.chat_template().empty()) conversations_.emplace(tokenizer);
}

TrainingRow RowEncoder::plain(const std::string& prompt, const std::string& rest, bool rest_only) const {
  TrainingRow row;
  row.ids = tokenizer_.encode(prompt + rest, true);
  const auto end = tokenizer_.eos_id();
  if (end && (row.ids.empty() || row.ids.back() != *end)) row.ids.push_back(*end);
  row.trained.assign(row.ids.size(), 1);
  if (rest_only) {
    // As TRL: the completion begins where the prompt's own tokens end, or where a merge with the completion changes
    // them.
    const std::vector<TokenId> alone = tokenizer_.encode(prompt, true);
    const auto [end_of_prompt, ignored] = std::mismatch(row.ids.begin(), row.ids.end(), alone.begin(), alone.end());
    std::fill_n(row.trained.begin(), end_of_prompt - row.ids.begin(), uint8_t{0});
  }
  return row;
}

TrainingRow RowEncoder::conversation(const ordered_json& messages, const ordered_json& tools,
                                     bool assistant_only) const {
  if (!conversations_) {
    throw bad_row("it holds messages, and the model has no chat template to write them with");
  }
  TrainingRow row;
  if (assistant_only) {
    TokenizedConversation tokenized = conversations_->tokenize(messages, tools);
    row.ids = std::move(tokenized.ids);
    row.trained = std::move(tokenized.assistant_mask);
  } else {
    row.ids = conversations_->ids(messages, tools);
    row.trained.assign(row.ids.size(), 1);
  }
  return row;
}

TrainingRow RowEncoder::encode(std::string_view line) const {
  const ordered_json row = parse(line);
  TrainingRow result = example(row);
  if (options_.tasks > 0) result.task_id = task_of(row, options_.tasks);
  return result;
}

TrainingRow RowEncoder::example(const ordered_json& row) const {
  switch (format_) {
    case RowFormat::kText:
      return plain("", text_field(row, "text"), false);
    case RowFormat::kPromptCompletion:
      return plain(text_field(row, "prompt"), text_field(row, "completion"), options_.completion_only);
    case RowFormat::kMessages:
      return conversation(checked_messages(field(row, "messages"), "messages"), tools_of(row), options_.assistant_only);
    case RowFormat::kAlpaca:
      return conversation(alpaca_messages(row), {}, options_.assistant_only);
    case RowFormat::kShareGpt:
      return conversation(sharegpt_messages(row), tools_of(row), options_.assistant_only);
    case RowFormat::kPreference:
      break;
  }
  throw bad_row("a row of preferences is not one of examples");
}

TrainingRow RowEncoder::answer(const ordered_json& row, const char* key) const {
  const ordered_json& value = field(row, key);
  if (!value.is_array()) return plain(text_field(row, "prompt"), text_field(row, key), true);
  ordered_json messages = checked_messages(value, key);
  if (const auto prompt = row.find("prompt"); prompt != row.end() && !prompt->is_null()) {
    ordered_json whole = prompt->is_string() ? ordered_json::array({message("user", prompt->get<std::string>())})
                                             : checked_messages(*prompt, "prompt");
    for (ordered_json& one : messages) whole.push_back(std::move(one));
    messages = std::move(whole);
  }
  // The answer is the last turn; earlier ones of the assistant belong to the prompt.
  ordered_json prompt = messages;
  while (!prompt.empty() && prompt.back().value("role", "") == "assistant") prompt.erase(prompt.end() - 1);
  if (prompt.size() == messages.size())
    throw bad_row(std::string("'") + key + "' does not end with the assistant's answer");
  TrainingRow result = conversation(messages, tools_of(row), true);
  const size_t turns_before = static_cast<size_t>(std::count_if(
      prompt.begin(), prompt.end(), [](const ordered_json& one) { return one.value("role", "") == "assistant"; }));
  if (turns_before > 0) {
    // Keep the marks behind the earlier turns only.
    const TrainingRow earlier = conversation(prompt, tools_of(row), true);
    const auto marked = static_cast<size_t>(std::count(earlier.trained.begin(), earlier.trained.end(), uint8_t{1}));
    size_t cleared = 0;
    for (size_t i = 0; i < result.trained.size() && cleared < marked; ++i) {
      if (result.trained[i] != 0) {
        result.trained[i] = 0;
        ++cleared;
      }
    }
  }
  return result;
}

PreferenceRow RowEncoder::encode_preference(std::string_view line) const {
  const ordered_json row = parse(line);
  PreferenceRow result;
  if (row.contains("label") || row.contains("completion")) {
    const ordered_json& label = field(row, "label");
    if (!label.is_boolean()) throw bad_row("the field 'label' is neither true nor false");
    (label.get<bool>() ? result.chosen : result.rejected) = answer(row, "completion");
    return result;
  }
  result.chosen = answer(row, "chosen");
  result.rejected = answer(row, "rejected");
  begin_together(*result.chosen, *result.rejected);
  return result;
}

void throw_at_line(const std::filesystem::path& path, int64_t number, const std::string& what,
                   const std::string& advice) {
  throw base::Error(base::kInvalidData, path.string() + " line " + std::to_string(number) + ": " + what,
                    advice.empty() ? kRowAdvice : advice);
}

void for_each_line(const std::filesystem::path& path, int64_t& number,
                   const std::function<bool(const std::string& line)>& use) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream || std::filesystem::is_directory(path)) {
    throw base::Error(base::kNotFound, "the data file " + path.string() + " cannot be read",
                      "check the paths under data; relative ones are relative to the workdir");
  }
  if (is_parquet(path)) {
    for_each_parquet_row(path, number, use);
    return;
  }
  number = 0;
  for (std::string line; std::getline(stream, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") != std::string::npos && !use(line)) return;
  }
  if (stream.bad()) throw base::Error(base::kIo, "reading " + path.string() + " failed", "check the disk");
}

}  // namespace slipway::text
