// PCRE2 behind the Regex class, see regex.h.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "agents/engine/text/regex.h"

#include <pcre2.h>
#include <unicode/uchar.h>

#include <memory>

#include "agents/engine/text/newer_characters.h"
#include "agents/engine/text/unicode.h"
#include "backend/base/error.h"

namespace slipway::text {

namespace {

constexpr size_t kMaxPatternBytes = 64 * 1024;
constexpr uint32_t kMatchLimit = 5'000'000;
constexpr uint32_t kHeapLimitKib = 64 * 1024;

std::string pcre2_message(int code) {
  char buffer[256] = {};
  pcre2_get_error_message(code, reinterpret_cast<PCRE2_UCHAR*>(buffer), sizeof(buffer));
  return buffer;
}

// One block of match data and one JIT stack per thread: they are costly to make and free of state between matches.
struct Scratch {
  pcre2_match_data* data = pcre2_match_data_create(64, nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(32 * 1024, 8 * 1024 * 1024, nullptr);
  ~Scratch() {
    pcre2_match_data_free(data);
    pcre2_jit_stack_free(stack);
  }
};

Scratch& scratch() {
  thread_local Scratch instance;
  return instance;
}

pcre2_jit_stack* stack_of_this_thread(void*) { return scratch().stack; }

bool is_script(const std::string& name) {
  return u_getPropertyValueEnum(UCHAR_SCRIPT, name.c_str()) != UCHAR_INVALID_CODE && name.size() > 2;
}

// The pattern with what PCRE2 would read otherwise than Oniguruma does: \p{Han} by script, not by the scripts that use
// a character; \w with marks, connectors and letter-like symbols, and by itself also with Latin-1's superscripts and
// fractions. \Z, \h, \R, \b and \W within a class still differ, but no known vocabulary uses them. Possessive
// quantifiers and (?i:...) mean the same in both.
std::string as_pcre2(const std::string& pattern) {
  static constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";
  static constexpr std::string_view kLatin1Numbers = R"(\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})";
  std::string out;
  bool in_class = false;
  size_t first_in_class = 0;
  for (size_t position = 0; position < pattern.size(); ++position) {
    const char c = pattern[position];
    if (c != '\\' || position + 1 >= pattern.size()) {
      if (c == '[' && !in_class) {
        in_class = true;
        first_in_class = position + (pattern.compare(position + 1, 1, "^") == 0 ? 2 : 1);
      } else if (c == ']' && position > first_in_class) {  // right at its beginning it stands for itself
        in_class = false;
      }
      out.push_back(c);
      continue;
    }
    const char kind = pattern[++position];
    const size_t close = pattern.find('}', position);
    if (kind == 'w' && in_class) {
      out += kWord;
    } else if (kind == 'w' || (kind == 'W' && !in_class)) {
      out.append(kind == 'w' ? "[" : "[^").append(kWord).append(kLatin1Numbers).append("]");
    } else if ((kind == 'p' || kind == 'P') && pattern.compare(position + 1, 1, "{") == 0 &&
               close != std::string::npos) {
      size_t name = position + 2;
      if (pattern[name] == '^') ++name;
      const bool script = is_script(pattern.substr(name, close - name));
      out.append("\\")
          .append(pattern, position, name - position)
          .append(script ? "sc:" : "")
          .append(pattern, name, close + 1 - name);
      position = close;
    } else {
      out.append({'\\', kind});
    }
  }
  return out;
}

}  // namespace

Regex::Regex(const std::string& pattern, const std::string& where) : where_(where) {
  if (pattern.size() > kMaxPatternBytes) {
    throw base::Error(base::kInvalidModel,
                      where + ": the pattern is longer than " + std::to_string(kMaxPatternBytes) + " bytes");
  }
  if (!is_valid_utf8(pattern)) throw base::Error(base::kInvalidModel, where + ": the pattern is not UTF-8");
  int error = 0;
  PCRE2_SIZE offset = 0;
  std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> compile(
      pcre2_compile_context_create(nullptr), &pcre2_compile_context_free);
  pcre2_set_parens_nest_limit(compile.get(), 100);
  const std::string ours = as_pcre2(pattern);
  auto* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(ours.data()), ours.size(),
                             PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK | PCRE2_NEVER_BACKSLASH_C, &error, &offset,
                             compile.get());
  if (code == nullptr) {
    throw base::Error(base::kInvalidModel,
                      where + ": bad pattern behind '" + ours.substr(0, offset) + "': " + pcre2_message(error));
  }
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  auto* context = pcre2_match_context_create(nullptr);
  pcre2_set_match_limit(context, kMatchLimit);
  pcre2_set_heap_limit(context, kHeapLimitKib);
  pcre2_jit_stack_assign(context, &stack_of_this_thread, nullptr);
  code_ = code;
  context_ = context;
}

Regex::Regex(Regex&& other) noexcept : code_(other.code_), context_(other.context_), where_(std::move(other.where_)) {
  other.code_ = nullptr;
  other.context_ = nullptr;
}

Regex::~Regex() {
  pcre2_code_free(static_cast<pcre2_code*>(code_));
  pcre2_match_context_free(static_cast<pcre2_match_context*>(context_));
}

std::vector<ByteRange> Regex::find_all(std::string_view given) const {
  const std::optional<std::string> older = with_older_characters(given);
  const std::string_view text = older ? *older : given;
  std::vector<ByteRange> matches;
  pcre2_match_data* data = scratch().data;
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  size_t position = 0;
  while (position <= text.size()) {
    const int count = pcre2_match(static_cast<const pcre2_code*>(code_), subject, text.size(), position,
                                  PCRE2_NO_UTF_CHECK, data, static_cast<pcre2_match_context*>(context_));
    if (count == PCRE2_ERROR_NOMATCH) break;
    if (count < 0) {
      throw base::Error(base::kInvalidModel, where_ + ": the pattern cannot be matched: " + pcre2_message(count),
                        "the pattern backtracks too much on this text; use the model's original tokenizer.json");
    }
    const PCRE2_SIZE* ranges = pcre2_get_ovector_pointer(data);
    const size_t begin = ranges[0];
    const size_t end = ranges[1];
    if (end < begin) break;  // \K in a lookahead can turn a match around
    if (begin == end) {      // an empty match: step over one character
      if (end >= text.size()) break;
      position = end + utf8_length(static_cast<unsigned char>(text[end]));
      continue;
    }
    matches.emplace_back(begin, end);
    position = end;
  }
  return matches;
}

std::string escape_regex(std::string_view text) {
  static constexpr std::string_view kSpecial = R"(\^$.|?*+()[]{}#-)";
  std::string out;
  for (const char c : text) {
    if (kSpecial.find(c) != std::string_view::npos) out.push_back('\\');
    out.push_back(c);
  }
  return out;
}

}  // namespace slipway::text
