// The steps of a decoder, see decoder.h.
#include "agents/engine/text/decoder.h"

#include <charconv>
#include <memory>

#include "agents/engine/text/json_fields.h"
#include "agents/engine/text/regex.h"
#include "agents/engine/text/unicode.h"

namespace slipway::text {

namespace {

constexpr char kKnown[] = "Sequence, ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace";

// The byte of <0xNN>, or -1.
int fallback_byte(const std::string& token) {
  if (token.size() != 6 || token.compare(0, 3, "<0x") != 0 || token[5] != '>') return -1;
  int byte = -1;
  const auto [end, error] = std::from_chars(token.data() + 3, token.data() + 5, byte, 16);
  return error == std::errc() && end == token.data() + 5 ? byte : -1;
}

void replace_all(std::string& text, const std::string& pattern, const std::string& content) {
  size_t position = 0;
  while ((position = text.find(pattern, position)) != std::string::npos) {
    text.replace(position, pattern.size(), content);
    position += content.size();
  }
}

void fuse(std::vector<std::string>& tokens) {
  std::string whole;
  for (const std::string& token : tokens) whole += token;
  tokens.assign(1, std::move(whole));
}

void byte_level(std::vector<std::string>& tokens) {
  std::string bytes;
  for (const std::string& token : tokens) bytes += alphabet_to_bytes(token);
  tokens.assign(1, repair_utf8(bytes));
}

// Runs of <0xNN> become their text; when a run is no UTF-8, each of its bytes becomes U+FFFD.
void byte_fallback(std::vector<std::string>& tokens) {
  std::vector<std::string> out;
  std::string run;
  const auto flush = [&] {
    if (run.empty()) return;
    if (is_valid_utf8(run)) {
      out.push_back(run);
    } else {
      out.insert(out.end(), run.size(), "\xEF\xBF\xBD");
    }
    run.clear();
  };
  for (std::string& token : tokens) {
    const int byte = fallback_byte(token);
    if (byte >= 0) {
      run.push_back(static_cast<char>(byte));
    } else {
      flush();
      out.push_back(std::move(token));
    }
  }
  flush();
  tokens = std::move(out);
}

void strip(std::string& token, const std::string& content, int64_t start, int64_t stop) {
  for (int64_t count = 0; count < start && token.compare(0, content.size(), content) == 0; ++count)
    token.erase(0, content.size());
  for (int64_t count = 0; count < stop && token.size() >= content.size() &&
                          token.compare(token.size() - content.size(), content.size(), content) == 0;
       ++count) {
    token.erase(token.size() - content.size());
  }
}

}  // namespace

Decoder::Decoder(const nlohmann::json& section, const std::string& origin) {
  if (section.is_null()) {
    joins_with_space_ = true;
  } else {
    add(section, origin + ": decoder", 0);
  }
}

void Decoder::add(const nlohmann::json& section, const std::string& where, int depth) {
  if (depth > kMaxSectionDepth) throw base::Error(base::kInvalidModel, where + ": nested too deeply");
  const std::string type = string_field(section, "type", where);
  if (type == "Sequence") {
    const auto& list = list_field(section, "decoders", where);
    for (size_t index = 0; index < list.size(); ++index) {
      add(list[index], where + ".decoders[" + std::to_string(index) + "]", depth + 1);
    }
  } else if (type == "ByteLevel") {
    steps_.emplace_back(&byte_level);
    single_steps_.emplace_back([](std::string& token) { token = alphabet_to_bytes(token); });
    fused_ = true;
  } else if (type == "Replace") {
    const auto& pattern = field(section, "pattern", where);
    const std::string literal = string_field(pattern, "String", where + ".pattern");
    const std::string content = string_field(section, "content", where);
    if (literal.empty()) throw bad_field(where + ".pattern.String", "a text that is not empty");
    steps_.emplace_back([=](Tokens& tokens) {
      for (std::string& token : tokens) replace_all(token, literal, content);
    });
    single_steps_.emplace_back([=](std::string& token) { replace_all(token, literal, content); });
  } else if (type == "ByteFallback") {
    steps_.emplace_back(&byte_fallback);
    single_steps_.emplace_back([](std::string& token) {
      const int byte = fallback_byte(token);
      if (byte >= 0) token.assign(1, static_cast<char>(byte));
    });
  } else if (type == "Fuse") {
    steps_.emplace_back(&fuse);
    fused_ = true;
  } else if (type == "Strip") {
    const std::string content = string_field(section, "content", where);
    const int64_t start = int_field(section, "start", 0, where);
    const int64_t stop = int_field(section, "stop", 0, where);
    if (content.empty() || start < 0 || stop < 0 || start > 1024 || stop > 1024)
      throw bad_field(where, "a content, and start and stop from 0 to 1024");
    steps_.emplace_back([=](Tokens& tokens) {
      for (std::string& token : tokens) strip(token, content, start, stop);
    });
    if (fused_) {
      for (int64_t count = 0; count < start; ++count) stripped_prefix_ += content;
    } else {
      single_steps_.emplace_back([=](std::string& token) { strip(token, content, start, stop); });
    }
  } else if (type == "Metaspace") {
    const std::string replacement = string_field(section, "replacement", where);
    if (replacement.empty()) throw bad_field(where + ".replacement", "one character");
    bool drop_first = bool_field(section, "add_prefix_space", true, where);
    if (section.contains("prepend_scheme")) drop_first = string_field(section, "prepend_scheme", where) != "never";
    steps_.emplace_back([=](Tokens& tokens) {
      for (size_t index = 0; index < tokens.size(); ++index) {
        replace_all(tokens[index], replacement, index == 0 && drop_first ? "" : " ");
      }
    });
    single_steps_.emplace_back([=](std::string& token) { replace_all(token, replacement, " "); });
    if (drop_first) stripped_prefix_ = " ";
  } else {
    throw unsupported_type(where, type, kKnown);
  }
}

std::string Decoder::decode(std::vector<std::string> tokens) const {
  for (const auto& step : steps_) step(tokens);
  std::string out;
  for (size_t index = 0; index < tokens.size(); ++index) {
    if (joins_with_space_ && index > 0) out.push_back(' ');
    out += tokens[index];
  }
  return out;
}

std::string Decoder::bytes_of(const std::string& token) const {
  std::string out = token;
  for (const auto& step : single_steps_) step(out);
  return out;
}

}  // namespace slipway::text
