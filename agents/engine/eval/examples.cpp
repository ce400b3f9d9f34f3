#include "agents/engine/eval/examples.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "agents/engine/text/tokenizer.h"
#include "backend/base/error.h"

namespace slipway::eval {
namespace {

using nlohmann::ordered_json;

constexpr size_t kMaxLineBytes = size_t{64} << 20U;
constexpr int kMaxDepth = 64;

base::Error bad_row(const std::string& what) { return {base::kInvalidData, what, "correct the line, or remove it"}; }

const std::string& text_field(const ordered_json& row, const char* key) {
  const auto found = row.find(key);
  if (found == row.end()) throw bad_row(std::string("the field '") + key + "' is missing");
  if (!found->is_string()) throw bad_row(std::string("the field '") + key + "' is not a string");
  return found->get_ref<const std::string&>();
}

void append_end(const text::Tokenizer& tokenizer, std::vector<int32_t>& tokens) {
  const auto end = tokenizer.eos_id();
  if (end && (tokens.empty() || tokens.back() != *end)) tokens.push_back(*end);
}

}  // namespace

DataFormat data_format(const std::string& name) {
  if (name == "text") return DataFormat::kText;
  return name == "prompt_completion" ? DataFormat::kPromptCompletion : DataFormat::kMessages;
}

ExampleEncoder::ExampleEncoder(const text::Tokenizer& tokenizer, const ExampleOptions& options)
    : tokenizer_(tokenizer), options_(options) {
  if (options.format == DataFormat::kMessages) conversations_.emplace(tokenizer);
}

Example ExampleEncoder::encode_messages(const ordered_json& row) const {
  const auto messages = row.find("messages");
  if (messages == row.end()) throw bad_row("the field 'messages' is missing");
  if (!messages->is_array() || messages->empty()) throw bad_row("'messages' is not a list of messages");
  for (size_t i = 0; i < messages->size(); ++i) {
    const ordered_json& message = (*messages)[i];
    const auto role = message.find("role");
    if (!message.is_object() || role == message.end() || !role->is_string()) {
      throw bad_row("messages[" + std::to_string(i) + "] is not an object with a role");
    }
  }
  const auto tools = row.find("tools");
  text::TokenizedConversation conversation =
      conversations_->tokenize(*messages, tools == row.end() ? ordered_json() : *tools);
  Example example{std::move(conversation.ids), std::move(conversation.assistant_mask)};
  if (!options_.assistant_only) example.scored.assign(example.tokens.size(), 1);
  return example;
}

Example ExampleEncoder::encode_plain(const std::string& prompt, const std::string& rest) const {
  Example example;
  example.tokens = tokenizer_.encode(prompt + rest, true);
  append_end(tokenizer_, example.tokens);
  example.scored.assign(example.tokens.size(), 1);
  if (!prompt.empty()) {
    // As TRL: the completion begins after as many tokens as the prompt alone has.
    const size_t prompt_tokens = std::min(tokenizer_.encode(prompt, true).size(), example.tokens.size());
    std::fill_n(example.scored.begin(), prompt_tokens, uint8_t{0});
  }
  return example;
}

Example ExampleEncoder::encode(std::string_view line) const {
  if (line.size() > kMaxLineBytes) throw bad_row("the line is longer than 64 MiB");
  ordered_json row;
  try {
    row = ordered_json::parse(line, [](int depth, ordered_json::parse_event_t, ordered_json&) {
      if (depth > kMaxDepth) throw bad_row("the line is nested too deeply");
      return true;
    });
  } catch (const ordered_json::exception&) {
    throw bad_row("the line is not JSON in UTF-8");
  }
  if (!row.is_object()) throw bad_row("the line is not a JSON object");
  Example example;
  switch (options_.format) {
    case DataFormat::kMessages:
      example = encode_messages(row);
      break;
    case DataFormat::kText:
      example = encode_plain("", text_field(row, "text"));
      break;
    case DataFormat::kPromptCompletion:
      example = encode_plain(text_field(row, "prompt"), text_field(row, "completion"));
      break;
  }
  if (!example.scored.empty()) example.scored[0] = 0;
  return example;
}

Examples ExampleEncoder::read(const std::filesystem::path& path) const {
  std::ifstream stream(path, std::ios::binary);
  if (!stream || std::filesystem::is_directory(path)) {
    throw base::Error(base::kNotFound, "the data file " + path.string() + " cannot be read",
                      "check the task's data.path; relative paths are relative to the workdir");
  }
  Examples examples;
  int64_t number = 0;
  for (std::string line; (options_.limit == 0 || examples.rows < options_.limit) && std::getline(stream, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    Example example;
    try {
      example = encode(line);
    } catch (const base::Error& error) {
      throw base::Error(base::kInvalidData, path.string() + " line " + std::to_string(number) + ": " + error.what(),
                        error.advice().empty() ? "correct the line, or remove it" : error.advice());
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
      continue;
    }
    examples.truncated_rows += truncated ? 1 : 0;
    examples.scored_tokens += scored;
    examples.kept.push_back(std::move(example));
  }
  if (stream.bad()) throw base::Error(base::kIo, "reading " + path.string() + " failed", "check the disk");
  return examples;
}

}  // namespace slipway::eval
