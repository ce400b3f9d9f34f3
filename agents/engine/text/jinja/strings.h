// Python's string operations on UTF-8. Used by the lexer, filters and methods.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace slipway::text::jinja {

bool is_python_space(char32_t code_point);  // str.isspace

// Without `characters`: white space.
std::string_view strip_left(std::string_view text, std::string_view characters = {});
std::string_view strip_right(std::string_view text, std::string_view characters = {});
std::string_view strip(std::string_view text, std::string_view characters = {});

std::string to_upper(const std::string& text);
std::string to_lower(const std::string& text);
std::string to_title(const std::string& text);        // str.title
std::string to_capitalized(const std::string& text);  // str.capitalize

std::string escape_html(const std::string& text);  // as MarkupSafe

std::string replace_all(const std::string& text, const std::string& from, const std::string& to, int64_t count = -1);

// str.split and str.rsplit; an empty separator means white space.
std::vector<std::string> split(const std::string& text, const std::string& separator, int64_t max_splits,
                               bool from_right);
std::vector<std::string> split_lines(const std::string& text, bool keep_ends);

// The characters from begin to end (both already clamped) with a step, as slicing does.
std::vector<std::string> characters_of(const std::string& text);

}  // namespace slipway::text::jinja
