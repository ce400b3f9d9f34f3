#include "backend/service/dataset_file.h"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>

#include "agents/engine/prep/jsonl_reader.h"
#include "agents/engine/prep/row.h"
#include "agents/engine/text/chat_template.h"
#include "backend/base/error.h"
#include "backend/base/status.h"

namespace slipway::service {
namespace {

using nlohmann::ordered_json;

constexpr size_t kMostFaults = 20;
constexpr int32_t kDefaultPreviewRows = 5;
constexpr int32_t kMostPreviewRows = 100;
constexpr size_t kMaxShownBytes = 64 << 10;
constexpr size_t kMostShownTokens = 4096;
constexpr size_t kMostColumns = 200;

// The reader's own trouble (not JSONL at all, unreadable) as a status.
template <typename Function>
auto guarded(const std::string& name, const std::filesystem::path& path, Function function)
    -> std::invoke_result_t<Function> {
  try {
    return function();
  } catch (const base::Error& error) {
    std::string text = error.what();
    if (const size_t at = text.find(path.string()); at != std::string::npos)
      text.replace(at, path.string().size(), name);
    return base::error(absl::StatusCode::kInvalidArgument, text, {error.code(), "artifact_id", error.advice()});
  }
}

std::optional<ordered_json> parse_object(const std::string& line) {
  ordered_json row = ordered_json::parse(line, nullptr, false);
  if (!row.is_object()) return std::nullopt;
  return row;
}

std::string line_name(const std::string& name, int64_t line) { return name + ", line " + std::to_string(line); }

// Cut at a character's start.
std::string shorten(std::string text, size_t most) {
  if (text.size() <= most) return text;
  while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xC0U) == 0x80U) --most;
  text.resize(most);
  return text + "…";
}

// The row as a conversation, where it can be seen as one.
ordered_json conversation_of(const prep::Row& row) {
  if (row.kind == prep::RowKind::kConversation) return row.messages;
  if (row.kind != prep::RowKind::kPreference) return nullptr;
  const auto as_messages = [](const ordered_json& side, const char* role) {
    if (side.is_array()) return side;
    if (!side.is_string()) return ordered_json::array();
    return ordered_json::array({{{"role", role}, {"content", side}}});
  };
  ordered_json messages = as_messages(row.prompt, "user");
  for (const ordered_json& message : as_messages(row.chosen, "assistant")) messages.push_back(message);
  return messages;
}

void add_tokens(const text::Tokenizer& tokenizer, const std::vector<text::TokenId>& ids,
                const std::function<bool(size_t)>& trained, PreviewRow& shown) {
  text::StreamDecoder decoder(tokenizer, false);
  const size_t count = std::min(ids.size(), kMostShownTokens);
  for (size_t i = 0; i < count; ++i) {
    shown.tokens.push_back({ids[i], decoder.push(ids[i]), trained(i)});
    shown.rendered += shown.tokens.back().text;
  }
  const std::string rest = decoder.flush();
  if (!shown.tokens.empty()) shown.tokens.back().text += rest;
  shown.rendered += rest;
  if (count < ids.size()) {
    shown.problem =
        "only the first " + std::to_string(count) + " of " + std::to_string(ids.size()) + " tokens are shown";
  }
}

void render(const prep::Row& row, const LoadedTokenizer& loaded, PreviewRow& shown) {
  if (row.kind == prep::RowKind::kText) {
    const auto ids = loaded.tokenizer->encode(row.text.get<std::string>(), true, false);
    return add_tokens(
        *loaded.tokenizer, ids, [](size_t) { return true; }, shown);
  }
  if (!loaded.conversations) {
    shown.problem = "the model has no chat template";
    return;
  }
  const auto tokens = loaded.conversations->tokenize(conversation_of(row), row.tools);
  add_tokens(
      *loaded.tokenizer, tokens.ids, [&](size_t i) { return tokens.assistant_mask[i] != 0; }, shown);
}

PreviewRow show_row(const std::string& line, const ColumnMapping& mapping, const LoadedTokenizer* tokenizer) {
  PreviewRow shown;
  shown.json = shorten(line, kMaxShownBytes);
  try {
    const prep::Row row = prep::parse_row(line, prep::parse_format(mapping.format), mapping.roles);
    const ordered_json messages = conversation_of(row);
    if (messages.is_array()) {
      for (const ordered_json& message : messages) {
        const auto content = message.find("content");
        shown.messages.push_back({message.value("role", ""), content != message.end() && content->is_string()
                                                                 ? shorten(content->get<std::string>(), kMaxShownBytes)
                                                                 : std::string()});
      }
    }
    if (const std::string useless = row.useless(); !useless.empty()) {
      shown.problem = useless == "no_answer" ? "the assistant says nothing: prepare drops this row"
                                             : "a part of it is empty: prepare drops this row";
      return shown;
    }
    if (tokenizer != nullptr) render(row, *tokenizer, shown);
  } catch (const std::exception& fault) {
    // RowFault for the row, base::Error from the template, or what the JSON library throws.
    shown.problem = fault.what();
  }
  return shown;
}

void add_columns(const ordered_json& row, std::vector<std::string>& columns) {
  for (const auto& [name, value] : row.items()) {
    if (columns.size() >= kMostColumns) return;
    if (std::find(columns.begin(), columns.end(), name) == columns.end()) columns.push_back(name);
  }
}

}  // namespace

absl::StatusOr<CheckedFile> check_file(const std::filesystem::path& path, const std::string& name,
                                       const ColumnMapping& given) {
  return guarded(name, path, [&]() -> absl::StatusOr<CheckedFile> {
    prep::JsonlReader reader(path);
    CheckedFile checked;
    std::vector<base::FieldViolation> faults;
    int64_t broken = 0;
    std::optional<prep::Format> format;
    const auto fault = [&](const std::string& what) {
      ++broken;
      if (faults.size() < kMostFaults) {
        faults.push_back({"line " + std::to_string(reader.line_number()), what, "correct the line, or leave it out"});
      }
    };
    std::string line;
    while (true) {
      const prep::JsonlReader::Status status = reader.next(line);
      if (status == prep::JsonlReader::Status::kEnd) break;
      ++checked.row_count;
      if (status == prep::JsonlReader::Status::kTooLong) {
        fault("is longer than 16 MiB");
        continue;
      }
      if (!format) {
        // A first line that is no JSON object is told by parse_row in its own words.
        if (const auto first = parse_object(line)) {
          auto mapping = complete_mapping(given, *first);
          if (!mapping.ok()) return mapping.status();
          checked.mapping = *std::move(mapping);
          format = prep::parse_format(checked.mapping.format);
        }
      }
      try {
        (void)prep::parse_row(line, format.value_or(prep::Format::kText), checked.mapping.roles);
      } catch (const prep::RowFault& row_fault) {
        fault(row_fault.what());
      }
    }
    if (broken > 0) {
      std::string message = line_name(name, std::stoll(faults[0].field.substr(5))) + ": the row " + faults[0].message;
      if (broken > 1) message += " (" + std::to_string(broken) + " rows are broken in all)";
      return base::error(absl::StatusCode::kInvalidArgument, message,
                         {base::kInvalidData, "artifact_id", "correct the file and upload it again", faults});
    }
    if (checked.row_count == 0) {
      return base::error(absl::StatusCode::kInvalidArgument, name + " has no rows",
                         {base::kInvalidData, "artifact_id", "upload a file with one JSON object on each line"});
    }
    return checked;
  });
}

absl::StatusOr<Preview> preview_file(const std::filesystem::path& path, const std::string& name,
                                     const PreviewRequest& request, const LoadedTokenizer* tokenizer) {
  if (request.rows < 0 || request.rows > kMostPreviewRows) {
    return base::invalid_argument("rows", "the number of rows is out of bounds", "use 1 to 100, or 0 for 5");
  }
  if (request.offset < 0) return base::invalid_argument("offset", "the offset is negative", "count rows from 0");
  const int64_t most = request.rows == 0 ? kDefaultPreviewRows : request.rows;
  return guarded(name, path, [&]() -> absl::StatusOr<Preview> {
    prep::JsonlReader reader(path);
    Preview preview;
    std::vector<std::string> lines;
    std::optional<ordered_json> first;
    std::string line;
    while (true) {
      const prep::JsonlReader::Status status = reader.next(line);
      if (status == prep::JsonlReader::Status::kEnd) break;
      const int64_t index = preview.row_count++;
      const bool wanted = index >= request.offset && index < request.offset + most;
      if (!wanted && first && index > kMostPreviewRows) continue;
      if (status == prep::JsonlReader::Status::kTooLong) {
        preview.problems.push_back(line_name(name, reader.line_number()) + ": longer than 16 MiB");
        if (wanted) lines.emplace_back();
        continue;
      }
      if (wanted) lines.push_back(line);
      if (index > kMostPreviewRows) continue;
      if (const auto row = parse_object(line)) {
        add_columns(*row, preview.columns);
        if (!first) first = *row;
      }
    }
    if (!first) {
      preview.problems.push_back("none of the first rows is a JSON object");
    } else if (auto mapping = complete_mapping(request.mapping, *first); mapping.ok()) {
      preview.mapping = *std::move(mapping);
    } else {
      preview.mapping = request.mapping;
      const std::string advice = base::detail_of(mapping.status()).advice;
      preview.problems.push_back(std::string(mapping.status().message()) + (advice.empty() ? "" : "; " + advice));
      first.reset();
    }
    for (const std::string& shown : lines) {
      if (first) {
        preview.rows.push_back(show_row(shown, preview.mapping, tokenizer));
      } else {
        preview.rows.push_back({shorten(shown, kMaxShownBytes), "", {}, "", {}});
      }
    }
    return preview;
  });
}

}  // namespace slipway::service
