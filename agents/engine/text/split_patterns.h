// The patterns that most vocabularies split text by, and scanners that do what a regular expression engine would, some
// ten times faster. Used by pre_tokenizer.cpp and gguf_pre_tokenizers.cpp.
#pragma once

#include <string_view>
#include <vector>

#include "agents/engine/text/regex.h"

namespace slipway::text {

// GPT-2's, which ByteLevel with use_regex means.
inline constexpr char kGpt2Pattern[] = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
inline constexpr char kLlama3Pattern[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
inline constexpr char kQwen2Pattern[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Appends the matches of a pattern in valid UTF-8, one behind the other: these patterns leave no gaps.
using Scanner = void (*)(std::string_view text, std::vector<ByteRange>& matches);

// The scanner of exactly this pattern, or null.
Scanner find_scanner(std::string_view pattern);

// Appends the runs of word characters (\w) and the runs of others that are no spaces: \w+|[^\w\s]+ of Rust's regex.
void scan_words(std::string_view text, std::vector<ByteRange>& matches);

// Appends the ranges of characters with a numeric value's category (N), each for itself.
void scan_digits(std::string_view text, std::vector<ByteRange>& matches);

}  // namespace slipway::text
