// Character classes of Unicode 16.0, whatever ICU and PCRE2 know: Hugging Face's `tokenizers` 0.23 splits text with
// Oniguruma 6.9.10, and a letter that we did not know would change the ids. Each character from after 14.0, which
// Debian 12's PCRE2 ends at, has an older one like it that is asked about in its place.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace slipway::text {

// A character of Unicode 14.0 with the general category of `code_point` in 16.0 and as many bytes in UTF-8: mostly
// `code_point` itself.
char32_t older_alike(char32_t code_point);

// Valid UTF-8 with older_alike of each character, of the same length so that matches in it are matches in `text`; empty
// when `text` has no newer character.
std::optional<std::string> with_older_characters(std::string_view text);

}  // namespace slipway::text
