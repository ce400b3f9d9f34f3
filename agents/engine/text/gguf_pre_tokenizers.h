// The pre-tokenizers that GGUF knows by name (tokenizer.ggml.pre), as tokenizer.json sections. Used by read_gguf.cpp
// and gguf_vocabulary.cpp.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace slipway::text {

struct NamedPreTokenizer {
  nlohmann::json normalizer;  // null where there is none
  nlohmann::json pre_tokenizer;
  bool ignore_merges = false;
  bool add_bos = false;  // what holds when the file does not say
};

std::optional<NamedPreTokenizer> find_pre_tokenizer(std::string_view name);
// The name under which GGUF knows these sections of a tokenizer.json, for exports; nothing when it has none.
std::optional<std::string_view> name_of_pre_tokenizer(const nlohmann::json& normalizer,
                                                      const nlohmann::json& pre_tokenizer, bool ignore_merges);
// All names, for messages.
std::string known_pre_tokenizers();

}  // namespace slipway::text
