// PCRE2 behind the Regex class, see regex.h.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "agents/engine/text/regex.h"

#include <pcre2.h>

#include <memory>

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

// PCRE2 reads \Z, \h, \R and the like differently from Oniguruma, but no known vocabulary uses those. Possessive
// quantifiers and (?i:...) mean the same in both.
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
  auto* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                             PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK | PCRE2_NEVER_BACKSLASH_C, &error, &offset,
                             compile.get());
  if (code == nullptr) {
    throw base::Error(base::kInvalidModel,
                      where + ": bad pattern at byte " + std::to_string(offset) + ": " + pcre2_message(error));
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

std::vector<ByteRange> Regex::find_all(std::string_view text) const {
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
