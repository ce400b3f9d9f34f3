// Looks for stop strings in text that comes in pieces, and lets nothing out that may still become one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace slipway::serve {

// One thread.
class StopMatcher {
 public:
  // `include`: the stop string itself belongs to the output.
  StopMatcher(std::vector<std::string> stops, bool include) : stops_(std::move(stops)), include_(include) {}

  // Adds text; returns what is certain to come before any stop string. Nothing more once stopped().
  std::string push(std::string_view text);
  // As push, but without looking for stops: for the first min_tokens tokens.
  std::string pass(std::string_view text);
  // What was held back, when no more text comes.
  std::string flush();

  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  bool include_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace slipway::serve
