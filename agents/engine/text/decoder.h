// tokenizer.json's `decoder`: from tokens back to text. Used by pipeline.cpp.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace slipway::text {

class Decoder {
 public:
  // `section` may be null. Throws base::Error INVALID_MODEL, or UNSUPPORTED listing the known types.
  Decoder(const nlohmann::json& section, const std::string& origin);

  // The text of a list of tokens, in which bytes that are no UTF-8 have become U+FFFD. Any thread.
  std::string decode(std::vector<std::string> tokens) const;

  // The bytes of one token in the middle of a text: what `decode` does to it but for what concerns its neighbours.
  std::string bytes_of(const std::string& token) const;

  // Text that decode() takes away once from the very beginning (the space that SentencePiece puts there); mostly empty.
  const std::string& stripped_prefix() const { return stripped_prefix_; }

 private:
  using Tokens = std::vector<std::string>;
  void add(const nlohmann::json& section, const std::string& where, int depth);

  std::vector<std::function<void(Tokens&)>> steps_;
  std::vector<std::function<void(std::string&)>> single_steps_;
  std::string stripped_prefix_;
  bool joins_with_space_ = false;  // without any decoder, Hugging Face puts spaces between tokens
  bool fused_ = false;
};

}  // namespace slipway::text
