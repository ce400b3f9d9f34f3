// tokenizer.json's `pre_tokenizer`: cuts text into the pieces that the model may not merge across. Used by
// pipeline.cpp.
#pragma once

#include <deque>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "agents/engine/text/word_model.h"

namespace slipway::text {

// The pieces of one stretch of text. Steps that change text put the new text into `storage`.
struct Pieces {
  std::vector<std::string_view> views;
  std::deque<std::string> storage;
  bool at_start = false;  // the stretch begins where the whole text begins
};

class PreTokenizer {
 public:
  // `section` may be null. Throws base::Error INVALID_MODEL, or UNSUPPORTED listing the known types.
  PreTokenizer(const nlohmann::json& section, const std::string& origin);

  // Whether pieces are to be looked up byte by byte.
  Alphabet alphabet() const { return alphabet_; }

  // Any thread.
  void split(Pieces& pieces) const;

 private:
  void add(const nlohmann::json& section, const std::string& where, int depth);
  std::vector<std::function<void(Pieces&)>> steps_;
  Alphabet alphabet_ = Alphabet::kCharacters;
};

}  // namespace slipway::text
