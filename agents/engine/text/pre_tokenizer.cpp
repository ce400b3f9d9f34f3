// The steps of a pre-tokenizer, see pre_tokenizer.h.
#include "agents/engine/text/pre_tokenizer.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <memory>

#include "agents/engine/text/json_fields.h"
#include "agents/engine/text/regex.h"
#include "agents/engine/text/split_patterns.h"
#include "agents/engine/text/unicode.h"

namespace slipway::text {

namespace {

constexpr char kKnown[] =
    "Sequence, Split, ByteLevel, Digits, Punctuation, Whitespace, WhitespaceSplit, CharDelimiterSplit, Metaspace, "
    "BertPreTokenizer";

enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

Behavior parse_behavior(const std::string& name, const std::string& where) {
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  throw bad_field(where + ".behavior", "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

struct Part {
  size_t begin;
  size_t end;
  bool match;
};

// The whole of a text as alternating parts.
std::vector<Part> parts_of(size_t size, const std::vector<ByteRange>& matches, bool invert) {
  std::vector<Part> parts;
  size_t position = 0;
  for (const auto& [begin, end] : matches) {
    if (begin > position) parts.push_back({position, begin, invert});
    parts.push_back({begin, end, !invert});
    position = end;
  }
  if (position < size) parts.push_back({position, size, invert});
  return parts;
}

void apply_behavior(std::vector<Part>& parts, Behavior behavior) {
  std::vector<Part> out;
  switch (behavior) {
    case Behavior::kIsolated:
      return;
    case Behavior::kRemoved:
      std::copy_if(parts.begin(), parts.end(), std::back_inserter(out), [](const Part& part) { return !part.match; });
      break;
    case Behavior::kContiguous:
      for (const Part& part : parts) {
        if (!out.empty() && out.back().match == part.match) {
          out.back().end = part.end;
        } else {
          out.push_back(part);
        }
      }
      break;
    case Behavior::kMergedWithPrevious: {
      bool previous_match = false;
      for (const Part& part : parts) {
        if (part.match && !previous_match && !out.empty()) {
          out.back().end = part.end;
        } else {
          out.push_back(part);
        }
        previous_match = part.match;
      }
      break;
    }
    case Behavior::kMergedWithNext: {
      bool next_match = false;
      for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
        if (part->match && !next_match && !out.empty()) {
          out.back().begin = part->begin;
        } else {
          out.push_back(*part);
        }
        next_match = part->match;
      }
      std::reverse(out.begin(), out.end());
      break;
    }
  }
  parts = std::move(out);
}

// Appends the matches of something in valid UTF-8.
using Finder = std::function<void(std::string_view, std::vector<ByteRange>&)>;

std::function<void(Pieces&)> splitting_step(Finder finder, Behavior behavior, bool invert) {
  return [finder = std::move(finder), behavior, invert](Pieces& pieces) {
    std::vector<std::string_view> out;
    std::vector<ByteRange> matches;
    out.reserve(pieces.views.size() * 2);
    for (const std::string_view view : pieces.views) {
      matches.clear();
      finder(view, matches);
      if (behavior == Behavior::kIsolated) {  // most often: matches and gaps as they are
        size_t position = 0;
        for (const auto& [begin, end] : matches) {
          if (begin > position) out.push_back(view.substr(position, begin - position));
          out.push_back(view.substr(begin, end - begin));
          position = end;
        }
        if (position < view.size()) out.push_back(view.substr(position));
        continue;
      }
      auto parts = parts_of(view.size(), matches, invert);
      apply_behavior(parts, behavior);
      for (const Part& part : parts) {
        if (part.end > part.begin) out.push_back(view.substr(part.begin, part.end - part.begin));
      }
    }
    pieces.views = std::move(out);
  };
}

Finder characters_that(bool (*predicate)(char32_t)) {
  return [predicate](std::string_view text, std::vector<ByteRange>& matches) {
    for (size_t position = 0; position < text.size();) {
      const size_t begin = position;
      if (predicate(next_code_point(text, position))) matches.emplace_back(begin, position);
    }
  };
}

Finder literal_finder(std::string literal) {
  return [literal = std::move(literal)](std::string_view text, std::vector<ByteRange>& matches) {
    for (size_t found = text.find(literal); found != std::string_view::npos;
         found = text.find(literal, found + literal.size())) {
      matches.emplace_back(found, found + literal.size());
    }
  };
}

Finder regex_finder(const std::string& pattern, const std::string& where) {
  if (const Scanner scanner = find_scanner(pattern)) return scanner;
  auto regex = std::make_shared<Regex>(pattern, where);
  return [regex](std::string_view text, std::vector<ByteRange>& matches) { matches = regex->find_all(text); };
}

// ASCII's, and what Unicode 8.0 calls punctuation: Rust's unicode_categories, which Hugging Face asks, stayed there.
bool is_punctuation(char32_t c) {
  if (c < 0x80)
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
  if (c == 0x166D || c == 0x111C9) return true;  // a symbol since 12.0, a mark since 11.0
  UVersionInfo age;
  u_charAge(static_cast<UChar32>(c), age);
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & U_GC_P_MASK) != 0 && age[0] <= 8;
}

void prepend_where_missing(Pieces& pieces, const std::string& prefix, bool only_first) {
  for (size_t index = 0; index < pieces.views.size(); ++index) {
    if (only_first && (index > 0 || !pieces.at_start)) return;
    if (pieces.views[index].substr(0, prefix.size()) == prefix) continue;
    pieces.storage.push_back(prefix + std::string(pieces.views[index]));
    pieces.views[index] = pieces.storage.back();
  }
}

void replace_spaces(Pieces& pieces, const std::string& replacement) {
  for (std::string_view& view : pieces.views) {
    if (view.find(' ') == std::string_view::npos) continue;
    std::string changed;
    for (const char c : view) {
      if (c == ' ') {
        changed += replacement;
      } else {
        changed.push_back(c);
      }
    }
    pieces.storage.push_back(std::move(changed));
    view = pieces.storage.back();
  }
}

}  // namespace

PreTokenizer::PreTokenizer(const nlohmann::json& section, const std::string& origin) {
  if (!section.is_null()) add(section, origin + ": pre_tokenizer", 0);
}

void PreTokenizer::add(const nlohmann::json& section, const std::string& where, int depth) {
  if (depth > kMaxSectionDepth) throw base::Error(base::kInvalidModel, where + ": nested too deeply");
  const std::string type = string_field(section, "type", where);
  if (alphabet_ == Alphabet::kBytes && type != "Sequence") {
    // A step after ByteLevel sees the bytes' stand-ins, as it does in Hugging Face; the model then looks those up.
    alphabet_ = Alphabet::kCharacters;
    steps_.emplace_back([](Pieces& pieces) {
      for (std::string_view& view : pieces.views) {
        pieces.storage.push_back(bytes_to_alphabet(view));
        view = pieces.storage.back();
      }
    });
  }
  if (type == "Sequence") {
    const auto& list = list_field(section, "pretokenizers", where);
    for (size_t index = 0; index < list.size(); ++index) {
      add(list[index], where + ".pretokenizers[" + std::to_string(index) + "]", depth + 1);
    }
  } else if (type == "Split") {
    const auto& pattern = field(section, "pattern", where);
    const Behavior behavior = parse_behavior(string_field(section, "behavior", where), where);
    const bool invert = bool_field(section, "invert", false, where);
    if (pattern.is_object() && pattern.contains("String")) {
      const std::string literal = string_field(pattern, "String", where + ".pattern");
      if (literal.empty()) throw bad_field(where + ".pattern.String", "a text that is not empty");
      steps_.push_back(splitting_step(literal_finder(literal), behavior, invert));
    } else {
      const std::string regex = string_field(pattern, "Regex", where + ".pattern");
      steps_.push_back(splitting_step(regex_finder(regex, where + ".pattern.Regex"), behavior, invert));
    }
  } else if (type == "ByteLevel") {
    alphabet_ = Alphabet::kBytes;
    if (bool_field(section, "add_prefix_space", true, where)) {
      steps_.emplace_back([](Pieces& pieces) { prepend_where_missing(pieces, " ", false); });
    }
    if (bool_field(section, "use_regex", true, where)) {
      steps_.push_back(splitting_step(regex_finder(kGpt2Pattern, where), Behavior::kIsolated, false));
    }
  } else if (type == "Digits") {
    const bool individual = bool_field(section, "individual_digits", false, where);
    steps_.push_back(splitting_step(&scan_digits, individual ? Behavior::kIsolated : Behavior::kContiguous, false));
  } else if (type == "Punctuation") {
    const bool given = section.contains("behavior");
    const Behavior behavior =
        given ? parse_behavior(string_field(section, "behavior", where), where) : Behavior::kIsolated;
    steps_.push_back(splitting_step(characters_that(&is_punctuation), behavior, false));
  } else if (type == "Whitespace") {
    steps_.push_back(splitting_step(&scan_words, Behavior::kRemoved, true));
  } else if (type == "WhitespaceSplit") {
    steps_.push_back(splitting_step(characters_that(&is_unicode_space), Behavior::kRemoved, false));
  } else if (type == "BertPreTokenizer") {
    steps_.push_back(splitting_step(characters_that(&is_unicode_space), Behavior::kRemoved, false));
    steps_.push_back(splitting_step(characters_that(&is_punctuation), Behavior::kIsolated, false));
  } else if (type == "CharDelimiterSplit") {
    const std::string delimiter = string_field(section, "delimiter", where);
    if (delimiter.empty()) throw bad_field(where + ".delimiter", "one character");
    steps_.push_back(splitting_step(literal_finder(delimiter), Behavior::kRemoved, false));
  } else if (type == "Metaspace") {
    const std::string replacement = string_field(section, "replacement", where);
    if (replacement.empty()) throw bad_field(where + ".replacement", "one character");
    std::string scheme = "always";
    if (section.contains("prepend_scheme")) {
      scheme = string_field(section, "prepend_scheme", where);
    } else if (!bool_field(section, "add_prefix_space", true, where)) {
      scheme = "never";
    }
    if (scheme != "always" && scheme != "first" && scheme != "never")
      throw bad_field(where + ".prepend_scheme", "always, first or never");
    steps_.emplace_back([=](Pieces& pieces) {
      replace_spaces(pieces, replacement);
      if (scheme != "never") prepend_where_missing(pieces, replacement, scheme == "first");
    });
    if (bool_field(section, "split", true, where)) {
      steps_.push_back(splitting_step(literal_finder(replacement), Behavior::kMergedWithNext, false));
    }
  } else {
    throw unsupported_type(where, type, kKnown);
  }
}

void PreTokenizer::split(Pieces& pieces) const {
  for (const auto& step : steps_) step(pieces);
}

}  // namespace slipway::text
