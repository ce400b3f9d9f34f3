// Reads tool calls out of an answer that comes in pieces, in the format of the model's family. Used by generation.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "agents/engine/serve/tools.h"

namespace slipway::serve {

// A piece of a call: its name first, once, then its arguments in pieces (JSON as text).
struct ToolCallDelta {
  int64_t index = 0;
  std::string id, name;   // in the first piece alone
  std::string arguments;  // what to append
};

// Reads one JSON object {"name": …, "arguments" or "parameters": …} byte by byte, and hands its arguments on as they
// come.
class CallReader {
 public:
  enum class State { kOpen, kComplete, kBroken };
  // Takes in bytes up to the object's end; returns how many.
  size_t push(std::string_view text);
  State state() const { return state_; }
  // The name is known, and the arguments have begun.
  bool is_call() const { return named_ && arguments_seen_; }
  bool named() const { return named_; }
  const std::string& name() const { return name_; }
  bool after_value() const { return place_ == Place::kAfterValue; }
  // Arguments that have come since the last call; only once the name is known.
  std::string take_arguments();
  // All that was pushed.
  const std::string& raw() const { return raw_; }

 private:
  void step(char c);
  void end_value();

  enum class Place { kStart, kKey, kInKey, kColon, kValue, kInValue, kAfterValue };
  State state_ = State::kOpen;
  Place place_ = Place::kStart;
  int64_t depth_ = 0;  // within the value
  bool in_string_ = false, escaped_ = false, text_value_ = false;
  std::string key_, value_, raw_;
  bool named_ = false, is_arguments_ = false, arguments_seen_ = false;
  std::string name_, arguments_;
};

// One thread.
class ToolParser {
 public:
  explicit ToolParser(ToolFormat format) : format_(format) {}

  // Adds text. Appends to `content` what is certain to be no call, and to `calls` the pieces of calls.
  void push(std::string_view text, std::string& content, std::vector<ToolCallDelta>& calls);
  // No more text comes.
  void finish(std::string& content, std::vector<ToolCallDelta>& calls);

  int64_t calls() const { return calls_; }

 private:
  enum class Place { kText, kCall, kAfterCall, kName };

  bool advance(std::string& content, std::vector<ToolCallDelta>& calls);
  bool in_text(std::string& content);
  bool in_call(std::string& content, std::vector<ToolCallDelta>& calls);
  bool after_call();
  bool in_name(std::string& content);
  void begin_call(Place place, std::string opening);
  void no_call(std::string& content);
  void emit(std::vector<ToolCallDelta>& calls, bool complete);

  const ToolFormat format_;
  Place place_ = Place::kText;
  bool ended_ = false;      // no more text comes
  bool started_ = false;    // something other than white space has come
  std::string held_;        // not looked at yet
  CallReader reader_;       // of the call under way, and of it:
  std::string opening_;     // the text that led into it, in case it is none
  size_t made_up_ = 0;      // how many of the reader's bytes we wrote for it: name and arguments came apart
  bool announced_ = false;  // its name is out
  int64_t calls_ = 0;
};

}  // namespace slipway::serve
