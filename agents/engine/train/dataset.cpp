#include "agents/engine/train/dataset.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "agents/engine/text/conversation.h"
#include "agents/engine/text/tokenizer.h"
#include "backend/base/error.h"
#include "backend/base/sha256.h"

namespace slipway::train {

namespace {

using nlohmann::ordered_json;

constexpr size_t kMaxLineBytes = size_t{64} << 20U;
constexpr char kRowAdvice[] = "correct the line, or remove it";

struct Example {
  std::vector<int32_t> tokens;
  std::vector<uint8_t> trained;
};

base::Error bad_row(const std::string& what, const std::string& advice = kRowAdvice) {
  return {base::kInvalidData, what, advice};
}

const std::string& text_field(const ordered_json& row, const char* key) {
  const auto it = row.find(key);
  if (it == row.end()) throw bad_row(std::string("the field '") + key + "' is missing");
  if (!it->is_string()) throw bad_row(std::string("the field '") + key + "' is not a string");
  return it->get_ref<const std::string&>();
}

void append_end(const text::Tokenizer& tokenizer, Example& example) {
  const auto end = tokenizer.eos_id();
  if (end && (example.tokens.empty() || example.tokens.back() != *end)) example.tokens.push_back(*end);
}

Example encode_text(const ordered_json& row, const text::Tokenizer& tokenizer) {
  Example example;
  example.tokens = tokenizer.encode(text_field(row, "text"), true);
  append_end(tokenizer, example);
  example.trained.assign(example.tokens.size(), 1);
  return example;
}

Example encode_prompt_completion(const ordered_json& row, const text::Tokenizer& tokenizer, bool completion_only) {
  const std::string& prompt = text_field(row, "prompt");
  Example example;
  example.tokens = tokenizer.encode(prompt + text_field(row, "completion"), true);
  append_end(tokenizer, example);
  example.trained.assign(example.tokens.size(), 1);
  if (completion_only) {
    // As TRL: the completion begins after as many tokens as the prompt alone has.
    const size_t prompt_tokens = std::min(tokenizer.encode(prompt, true).size(), example.tokens.size());
    std::fill_n(example.trained.begin(), prompt_tokens, uint8_t{0});
  }
  return example;
}

void check_messages(const ordered_json& row) {
  const auto messages = row.find("messages");
  if (messages == row.end()) throw bad_row("the field 'messages' is missing");
  if (!messages->is_array() || messages->empty()) throw bad_row("'messages' is not a list of messages");
  for (size_t i = 0; i < messages->size(); ++i) {
    const ordered_json& message = (*messages)[i];
    const std::string name = "messages[" + std::to_string(i) + "]";
    if (!message.is_object()) throw bad_row(name + " is not an object");
    const auto role = message.find("role");
    if (role == message.end() || !role->is_string()) throw bad_row(name + " has no role");
    const auto content = message.find("content");
    if (content == message.end() ? !message.contains("tool_calls") : !content->is_string() && !content->is_null()) {
      throw bad_row(name + " has no content that is a string");
    }
  }
}

Example encode_messages(const ordered_json& row, const text::ConversationTokenizer& tokenizer, bool assistant_only) {
  check_messages(row);
  const auto tools = row.find("tools");
  text::TokenizedConversation conversation =
      tokenizer.tokenize(row.at("messages"), tools == row.end() ? ordered_json() : *tools);
  Example example{std::move(conversation.ids), std::move(conversation.assistant_mask)};
  if (!assistant_only) example.trained.assign(example.tokens.size(), 1);
  return example;
}

// Adds one row, cut to max_length, or counts why not.
void add(Example example, int64_t max_length, Dataset& dataset) {
  const bool truncated = static_cast<int64_t>(example.tokens.size()) > max_length;
  if (truncated) {
    example.tokens.resize(static_cast<size_t>(max_length));
    example.trained.resize(static_cast<size_t>(max_length));
  }
  int64_t targets = 0;  // the first token has nothing before it that could predict it
  for (size_t i = 1; i < example.trained.size(); ++i) targets += example.trained[i] != 0 ? 1 : 0;
  DatasetStatistics& statistics = dataset.statistics;
  if (targets == 0) {
    ++statistics.dropped_rows;
    return;
  }
  statistics.truncated_rows += truncated ? 1 : 0;
  statistics.tokens += static_cast<int64_t>(example.tokens.size());
  statistics.trained_tokens += targets;
  dataset.documents.add(example.tokens, example.trained);
}

void read_file(const DataFile& file, const text::Tokenizer& tokenizer, const TokenizeOptions& options,
               const std::atomic<bool>& stop, Dataset& dataset) {
  std::ifstream stream(file.path, std::ios::binary);
  if (!stream || std::filesystem::is_directory(file.path)) {
    throw base::Error(base::kNotFound, "the data file " + file.path.string() + " cannot be read",
                      "check data.train and data.validation; relative paths are relative to the workdir");
  }
  std::optional<text::ConversationTokenizer> conversations;
  if (file.format == DataFormat::kMessages) conversations.emplace(tokenizer);
  int64_t number = 0;
  for (std::string line; !stop.load() && std::getline(stream, line);) {
    ++number;
    try {
      if (line.size() > kMaxLineBytes) throw bad_row("the line is longer than 64 MiB");
      if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
      const ordered_json row = ordered_json::parse(line, nullptr, false);
      if (row.is_discarded()) throw bad_row("the line is not JSON in UTF-8");
      if (!row.is_object()) throw bad_row("the line is not a JSON object");
      Example example;
      switch (file.format) {
        case DataFormat::kMessages:
          example = encode_messages(row, *conversations, options.assistant_only_loss);
          break;
        case DataFormat::kText:
          example = encode_text(row, tokenizer);
          break;
        case DataFormat::kPromptCompletion:
          example = encode_prompt_completion(row, tokenizer, options.completion_only_loss);
          break;
      }
      ++dataset.statistics.rows;
      add(std::move(example), options.max_length, dataset);
    } catch (const base::Error& error) {
      throw base::Error(base::kInvalidData,
                        file.path.string() + " line " + std::to_string(number) + ": " + error.what(),
                        error.advice().empty() ? kRowAdvice : error.advice());
    }
  }
  if (stream.bad()) throw base::Error(base::kIo, "reading " + file.path.string() + " failed", "check the disk");
}

}  // namespace

std::string Dataset::fingerprint() const {
  base::Sha256 hash;
  hash.update(documents.tokens.data(), documents.tokens.size() * sizeof(int32_t));
  hash.update(documents.trained.data(), documents.trained.size());
  hash.update(documents.offsets.data(), documents.offsets.size() * sizeof(int64_t));
  return hash.hex();
}

Dataset load_dataset(const std::vector<DataFile>& files, const text::Tokenizer& tokenizer,
                     const TokenizeOptions& options, const std::atomic<bool>& stop) {
  Dataset dataset;
  for (const DataFile& file : files) read_file(file, tokenizer, options, stop, dataset);
  return dataset;
}

}  // namespace slipway::train
