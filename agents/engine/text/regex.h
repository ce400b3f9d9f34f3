// A compiled regular expression (PCRE2 with Unicode properties and JIT) with limits: patterns come from model files.
// Used by the pre-tokenizers and normalizers.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slipway::text {

using ByteRange = std::pair<size_t, size_t>;  // [begin, end) in bytes

class Regex {
 public:
  // `pattern` in Oniguruma's or Rust's dialect as tokenizer.json holds it. Throws base::Error INVALID_MODEL; `where`
  // names file and key.
  Regex(const std::string& pattern, const std::string& where);
  ~Regex();
  Regex(Regex&& other) noexcept;
  Regex& operator=(Regex&&) = delete;

  // All matches in valid UTF-8, from left to right, without overlap. Any thread. Throws base::Error when a limit is
  // hit.
  std::vector<ByteRange> find_all(std::string_view text) const;

 private:
  void* code_ = nullptr;     // pcre2_code
  void* context_ = nullptr;  // pcre2_match_context
  std::string where_;
};

// `text` with everything of a special meaning in a pattern escaped.
std::string escape_regex(std::string_view text);

}  // namespace slipway::text
