// UTF-8 and character classes for the tokenizer and the template engine, as Python and Rust define them.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace slipway::text {

// Length in bytes of the character at the front of valid UTF-8.
inline size_t utf8_length(unsigned char first) { return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4; }

// The code point that starts at `position` of valid UTF-8; moves `position` behind it.
char32_t next_code_point(std::string_view valid, size_t& position);
// The code point that ends right before `position`; moves `position` to its start.
char32_t previous_code_point(std::string_view valid, size_t& position);

void append_utf8(std::string& out, char32_t code_point);

bool is_ascii(std::string_view text);
bool is_valid_utf8(std::string_view text);

// Each maximal ill-formed piece becomes one U+FFFD (Unicode 15, section 3.9; Python's errors="replace", Rust's lossy).
std::string repair_utf8(std::string_view text);

// Bytes at the end of `text` that begin a character but do not finish it: 0 to 3.
size_t unfinished_tail(std::string_view text);

size_t count_code_points(std::string_view valid);

bool is_unicode_space(char32_t code_point);   // White_Space, as Rust's char::is_whitespace
bool is_word_character(char32_t code_point);  // \w of Unicode regular expressions

// GPT-2's printable stand-in of each byte, and the reverse (-1 for other characters).
const std::array<char32_t, 256>& byte_alphabet();
int byte_of_character(char32_t code_point);

// Every byte of `bytes` by its stand-in, as byte-level vocabularies spell tokens.
std::string bytes_to_alphabet(std::string_view bytes);
// The bytes that `token` spells; when it has a character from outside the alphabet, the token itself, as Hugging Face's
// ByteLevel decoder does.
std::string alphabet_to_bytes(std::string_view token);
// Whether every character of `token` is a byte's stand-in.
bool in_byte_alphabet(std::string_view token);

}  // namespace slipway::text
