#include "agents/engine/serve/tool_parser.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "backend/base/ids.h"

namespace slipway::serve {
namespace {

constexpr char kEndOfHermes[] = "</tool_call>";

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

// The length of the longest end of `text` that `marker` begins with.
size_t begun(std::string_view text, std::string_view marker) {
  for (size_t length = std::min(text.size(), marker.size() - 1); length > 0; --length) {
    if (text.ends_with(marker.substr(0, length))) return length;
  }
  return 0;
}

void trim_end(std::string& text) {
  while (!text.empty() && is_space(text.back())) text.pop_back();
}

size_t first_not_space(std::string_view text, std::string_view more = "") {
  size_t i = 0;
  while (i < text.size() && (is_space(text[i]) || more.find(text[i]) != std::string_view::npos)) ++i;
  return i;
}

}  // namespace

size_t CallReader::push(std::string_view text) {
  size_t taken = 0;
  while (taken < text.size() && state_ == State::kOpen) {
    raw_ += text[taken];
    step(text[taken++]);
  }
  return taken;
}

void CallReader::step(char c) {
  switch (place_) {
    case Place::kStart:
      if (is_space(c)) return;
      if (c == '{') {
        place_ = Place::kKey;
      } else {
        state_ = State::kBroken;
      }
      return;
    case Place::kKey:
      if (is_space(c)) return;
      if (c == '"') {
        key_.clear();
        escaped_ = false;
        place_ = Place::kInKey;
      } else {
        state_ = c == '}' ? State::kComplete : State::kBroken;
      }
      return;
    case Place::kInKey:
      if (c == '"' && !escaped_) {
        place_ = Place::kColon;
        return;
      }
      escaped_ = c == '\\' && !escaped_;
      key_ += c;
      return;
    case Place::kColon:
      if (is_space(c)) return;
      if (c != ':') state_ = State::kBroken;
      place_ = Place::kValue;
      return;
    case Place::kValue:
      if (is_space(c)) return;
      value_.clear();
      depth_ = 0;
      in_string_ = escaped_ = false;
      text_value_ = c == '"';
      is_arguments_ = key_ == "arguments" || key_ == "parameters";
      arguments_seen_ = arguments_seen_ || is_arguments_;
      place_ = Place::kInValue;
      [[fallthrough]];
    case Place::kInValue: {
      const bool nested = depth_ > 0 || in_string_ || c == '{' || c == '[' || c == '"';
      if (!nested && (c == ',' || c == '}' || c == ']')) {  // the end of a number, true, false or null
        end_value();
        step(c);
        return;
      }
      if (depth_ == 0 && !in_string_ && !value_.empty() && nested) {  // 1{ and the like
        state_ = State::kBroken;
        return;
      }
      value_ += c;
      if (is_arguments_ && (depth_ > 0 || c == '{' || c == '[') && !text_value_) arguments_ += c;
      if (in_string_) {
        in_string_ = c != '"' || escaped_;
        escaped_ = c == '\\' && !escaped_;
      } else if (c == '"') {
        in_string_ = true;
      } else if (c == '{' || c == '[') {
        ++depth_;
      } else if (c == '}' || c == ']') {
        --depth_;
      }
      if (nested && depth_ == 0 && !in_string_) end_value();
      return;
    }
    case Place::kAfterValue:
      if (is_space(c)) return;
      if (c == ',') {
        place_ = Place::kKey;
      } else {
        state_ = c == '}' ? State::kComplete : State::kBroken;
      }
      return;
  }
}

void CallReader::end_value() {
  place_ = Place::kAfterValue;
  const bool object = !value_.empty() && (value_[0] == '{' || value_[0] == '[');
  const nlohmann::json value = object ? nlohmann::json() : nlohmann::json::parse(value_, nullptr, false);
  if (key_ == "name" && value.is_string()) {
    name_ = value.get<std::string>();
    named_ = !name_.empty();
  } else if (is_arguments_ && !object) {
    // Some models write their arguments as a text that holds JSON.
    arguments_ = value.is_string() ? value.get<std::string>() : "{}";
  }
}

std::string CallReader::take_arguments() { return named_ ? std::exchange(arguments_, "") : ""; }

void ToolParser::push(std::string_view text, std::string& content, std::vector<ToolCallDelta>& calls) {
  held_ += text;
  while (advance(content, calls)) {
  }
}

void ToolParser::finish(std::string& content, std::vector<ToolCallDelta>& calls) {
  ended_ = true;
  while (advance(content, calls)) {
  }
  if (calls_ > 0) trim_end(content);
}

bool ToolParser::advance(std::string& content, std::vector<ToolCallDelta>& calls) {
  switch (place_) {
    case Place::kText:
      return in_text(content);
    case Place::kCall:
      return in_call(content, calls);
    case Place::kAfterCall:
      return after_call();
    case Place::kName:
      return in_name(content);
  }
  return false;
}

void ToolParser::begin_call(Place place, std::string opening) {
  place_ = place;
  opening_ = std::move(opening);
  reader_ = CallReader();
  made_up_ = 0;
  announced_ = false;
}

bool ToolParser::in_text(std::string& content) {
  const std::string marker = tool_markers(format_).front();
  const size_t blank = first_not_space(held_);
  if (format_ == ToolFormat::kLlama && !started_ && blank < held_.size() && held_[blank] == '{') {
    started_ = true;
    held_.erase(0, blank);
    begin_call(Place::kCall, "");
    return true;
  }
  const size_t found = held_.find(marker);
  size_t ready = found;
  if (found == std::string::npos && ended_) {
    ready = held_.size();
  } else {
    if (found == std::string::npos) ready = held_.size() - begun(held_, marker);
    // White space before a call belongs to neither.
    while (ready > 0 && is_space(held_[ready - 1])) --ready;
  }
  started_ = started_ || blank < ready;
  content += held_.substr(0, ready);
  held_.erase(0, found == std::string::npos ? ready : found + marker.size());
  if (found == std::string::npos) return false;
  started_ = true;
  const bool named = format_ == ToolFormat::kMistralList || format_ == ToolFormat::kMistralArgs;
  begin_call(named ? Place::kName : Place::kCall, marker);
  return true;
}

// What looked like a call is text after all.
void ToolParser::no_call(std::string& content) {
  content += opening_ + reader_.raw().substr(std::min(made_up_, reader_.raw().size()));
  place_ = Place::kText;
}

void ToolParser::emit(std::vector<ToolCallDelta>& calls, bool complete) {
  ToolCallDelta delta;
  if (announced_) {
    delta.index = calls_ - 1;
    delta.arguments = reader_.take_arguments();
    if (!delta.arguments.empty()) calls.push_back(std::move(delta));
    return;
  }
  if (!reader_.is_call() && !(complete && reader_.named())) return;
  announced_ = true;
  delta.index = calls_++;
  delta.id = "call_" + base::random_secret(18);
  delta.name = reader_.name();
  delta.arguments = reader_.take_arguments();
  if (complete && delta.arguments.empty()) delta.arguments = "{}";
  calls.push_back(std::move(delta));
}

bool ToolParser::in_call(std::string& content, std::vector<ToolCallDelta>& calls) {
  if (made_up_ == 0) {
    held_.erase(0, reader_.push(held_));
  } else {
    size_t taken = 0;
    while (taken < held_.size() && !reader_.after_value() && reader_.state() == CallReader::State::kOpen) {
      taken += reader_.push(std::string_view(held_).substr(taken, 1));
    }
    held_.erase(0, taken);
    if (reader_.after_value()) reader_.push("}");
  }
  const bool complete = reader_.state() == CallReader::State::kComplete;
  // Without a marker, only an object with both a name and arguments is a call.
  emit(calls, complete && !opening_.empty());
  if (reader_.state() == CallReader::State::kOpen) {
    if (ended_ && !announced_) {
      no_call(content);
      return true;
    }
    return false;
  }
  if (announced_) {
    place_ = Place::kAfterCall;
  } else {
    no_call(content);
  }
  return true;
}

bool ToolParser::after_call() {
  const bool llama = format_ == ToolFormat::kLlama, list = format_ == ToolFormat::kMistralList;
  held_.erase(0, first_not_space(held_, llama ? ";" : list ? "," : ""));
  if (held_.empty() && !ended_) return false;
  if (format_ == ToolFormat::kHermes) {
    const std::string_view end = kEndOfHermes;
    if (held_.size() < end.size() && end.starts_with(held_) && !ended_) return false;
    if (held_.starts_with(end)) held_.erase(0, end.size());
  } else if ((llama || list) && held_.starts_with("{")) {
    begin_call(Place::kCall, opening_);
    return true;
  } else if (list && held_.starts_with("]")) {
    held_.erase(0, 1);
  }
  place_ = Place::kText;
  return true;
}

// After [TOOL_CALLS]: a list of calls, one call, or a name and, after other markers, its arguments.
bool ToolParser::in_name(std::string& content) {
  const size_t blank = first_not_space(held_);
  if (blank < held_.size() && (held_[blank] == '[' || held_[blank] == '{')) {
    held_.erase(0, held_[blank] == '[' ? blank + 1 : blank);
    place_ = Place::kCall;
    return true;
  }
  const size_t arguments = held_.find('{');
  if (arguments == std::string::npos) {
    if (!ended_) return false;
    content += opening_ + std::exchange(held_, "");
    place_ = Place::kText;
    return true;
  }
  std::string name = held_.substr(blank, std::min(held_.find('['), arguments) - blank);
  trim_end(name);
  opening_ += held_.substr(0, arguments);
  held_.erase(0, arguments);
  made_up_ =
      reader_.push("{\"name\":" + nlohmann::json(name).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) +
                   ",\"arguments\":");
  place_ = Place::kCall;
  return true;
}

}  // namespace slipway::serve
