// Unicode work on texts, with ICU. Any thread.
#pragma once

#include <string>
#include <string_view>

namespace slipway::prep {

enum class UnicodeForm { kNone, kNfc, kNfkc };

// Cleans a text without changing what it says: Unicode form; line ends become \n; byte order marks, NUL and other
// control characters go (tabs stay); spaces at line ends go; more than one blank line becomes one; no blank lines or
// spaces around the whole, save the indentation of the first line.
std::string normalize_text(std::string_view text, UnicodeForm form);

// What dedup_exact compares: NFC, every run of white space one space, none around.
std::string exact_key(std::string_view text);

// What dedup_near compares: NFKC with case folded; everything but letters, marks and digits is a space; one at a time.
std::string near_key(std::string_view text);

}  // namespace slipway::prep
