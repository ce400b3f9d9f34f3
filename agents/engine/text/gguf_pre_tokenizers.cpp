// The table of pre-tokenizers, see gguf_pre_tokenizers.h. The patterns are those of the models' own tokenizer.json
// files.
#include "agents/engine/text/gguf_pre_tokenizers.h"

#include <array>
#include <vector>

#include "agents/engine/text/split_patterns.h"

namespace slipway::text {

namespace {

using json = nlohmann::json;

constexpr char kQwen35[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char kGpt4o[] =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
    R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char kTekken[] = R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
                           R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
                           R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char kDeepseekCjk[] = R"([\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+)";
constexpr char kBloom[] = " ?[^(\\s|.,!?…。，、।۔،)]+";
// Cased letters, as DeepSeek's tokenizer.json lists them.
constexpr char kDeepseekLetters[] =
    "\\s?["
    "A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}\\x{1C4}-\\x{293}\\x{295}-"
    "\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}\\x{37F}\\x{386}\\x{388}-\\x{38A}\\x{38C}\\x{38E}-"
    "\\x{3A1}\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}\\x{10A0}-\\x{10C5}\\x{13A0}-"
    "\\x{13F5}\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}"
    "\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{1F50}-"
    "\\x{1F57}\\x{1F59}\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{1F7D}\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}"
    "\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}\\x{1FF2}-"
    "\\x{1FF4}\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}\\x{2124}"
    "\\x{2126}\\x{2128}\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}"
    "\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}\\x{2CF2}\\x{2CF3}"
    "\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-"
    "\\x{ABBF}\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}"
    "\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}\\x{118A0}-\\x{118DF}"
    "\\x{1E900}-\\x{1E943}"
    "]+";

json split(const char* pattern) {
  return {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
}
json digits(bool individual) { return {{"type", "Digits"}, {"individual_digits", individual}}; }
json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}
json sequence(std::vector<json> steps) { return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}}; }
json split_then_bytes(const char* pattern) { return sequence({split(pattern), byte_level(false)}); }

struct Entry {
  std::string_view name;
  NamedPreTokenizer (*make)();
};

NamedPreTokenizer gpt2() { return {nullptr, byte_level(true)}; }
NamedPreTokenizer with_digits() { return {nullptr, sequence({digits(true), byte_level(true)})}; }
NamedPreTokenizer llama3() { return {nullptr, split_then_bytes(kLlama3Pattern), true, true}; }
NamedPreTokenizer llama3_with_merges() { return {nullptr, split_then_bytes(kLlama3Pattern)}; }
NamedPreTokenizer qwen2() { return {{{"type", "NFC"}}, split_then_bytes(kQwen2Pattern)}; }
NamedPreTokenizer qwen35() { return {nullptr, split_then_bytes(kQwen35)}; }
NamedPreTokenizer stablelm2() { return {nullptr, split_then_bytes(kQwen2Pattern)}; }
NamedPreTokenizer command_r() { return {{{"type", "NFC"}}, sequence({digits(true), byte_level(true)})}; }
NamedPreTokenizer gpt4o() { return {nullptr, split_then_bytes(kGpt4o)}; }
NamedPreTokenizer tekken() { return {nullptr, split_then_bytes(kTekken), true, true}; }
NamedPreTokenizer bloom() { return {nullptr, split_then_bytes(kBloom)}; }
NamedPreTokenizer viking() { return {nullptr, sequence({split(kBloom), digits(true), byte_level(false)})}; }
NamedPreTokenizer falcon() {
  return {nullptr, sequence({{{"type", "Punctuation"}, {"behavior", "Contiguous"}},
                             byte_level(true),
                             digits(false),
                             split("[0-9][0-9][0-9]")})};
}
NamedPreTokenizer deepseek_llm() {
  return {nullptr, sequence({split("[\r\n]"), split(kDeepseekLetters), split("\\s?[!-/:-~！-／：-～‘-‟　-。]+"),
                             split("\\s+$"), split(kDeepseekCjk), digits(true), byte_level(false)})};
}
NamedPreTokenizer deepseek_coder() {
  return {nullptr, sequence({split("[\r\n]"), split("\\s?\\p{L}+"), split("\\s?\\p{P}+"), split(kDeepseekCjk),
                             digits(true), byte_level(false)})};
}
NamedPreTokenizer deepseek_v3() {
  return {nullptr,
          sequence(
              {split("\\p{N}{1,3}"), split("[一-龥\u3040-ゟ゠-ヿ]+"),
               split("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "
                     "?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"),
               byte_level(false)})};
}
// What llama.cpp does for files that call their pre-tokenizer "default".
NamedPreTokenizer by_default() {
  return {nullptr, sequence({split("[\\p{P}\\$\\+<=>\\^~\\|]+"),
                             split("'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)"),
                             split("\\p{N}+"), split("[0-9][0-9][0-9]"), byte_level(false)})};
}

constexpr std::array kEntries = {
    Entry{"default", &by_default},
    Entry{"gpt-2", &gpt2},
    Entry{"gpt-neox", &gpt2},
    Entry{"mpt", &gpt2},
    Entry{"olmo", &gpt2},
    Entry{"jais", &gpt2},
    Entry{"phi-2", &gpt2},
    Entry{"mellum", &gpt2},
    Entry{"exaone4", &gpt2},
    Entry{"smollm", &with_digits},
    Entry{"starcoder", &with_digits},
    Entry{"refact", &with_digits},
    Entry{"codeshell", &with_digits},
    Entry{"exaone", &with_digits},
    Entry{"minerva-7b", &with_digits},
    Entry{"command-r", &command_r},
    Entry{"llama-bpe", &llama3},
    Entry{"llama3", &llama3},
    Entry{"llama-v3", &llama3},
    Entry{"falcon3", &llama3},
    Entry{"pixtral", &llama3},
    Entry{"lfm2", &llama3},
    Entry{"dbrx", &llama3_with_merges},
    Entry{"smaug-bpe", &llama3_with_merges},
    Entry{"chatglm-bpe", &llama3_with_merges},
    Entry{"glm4", &llama3_with_merges},
    Entry{"qwen2", &qwen2},
    Entry{"deepseek-r1-qwen", &qwen2},
    Entry{"qwen35", &qwen35},
    Entry{"stablelm2", &stablelm2},
    Entry{"gpt-4o", &gpt4o},
    Entry{"llama4", &gpt4o},
    Entry{"tekken", &tekken},
    Entry{"bloom", &bloom},
    Entry{"poro-chat", &bloom},
    Entry{"gpt3-finnish", &bloom},
    Entry{"viking", &viking},
    Entry{"falcon", &falcon},
    Entry{"deepseek-llm", &deepseek_llm},
    Entry{"deepseek-coder", &deepseek_coder},
    Entry{"deepseek-v3", &deepseek_v3},
};

// A section with what does not change the tokens taken out, so that two ways of writing the same one are equal:
// offsets, defaults spelled out, and sequences within sequences or of one step.
json plain(const json& section) {
  if (!section.is_object()) return nullptr;
  if (section.value("type", "") != "Sequence") {
    json out = section;
    for (const char* key : {"trim_offsets", "add_prefix_space"}) {
      if (key == std::string_view("trim_offsets") || out.value(key, true) == false) out.erase(key);
    }
    if (out.value("type", "") == "Split" && !out.value("invert", false)) out.erase("invert");
    return out;
  }
  json steps = json::array();
  for (const char* key : {"pretokenizers", "normalizers"}) {
    for (const json& step : section.value(key, json::array())) {
      json inner = plain(step);
      if (inner.is_array()) {
        steps.insert(steps.end(), inner.begin(), inner.end());
      } else if (!inner.is_null()) {
        steps.push_back(std::move(inner));
      }
    }
  }
  return steps.size() == 1 ? steps[0] : steps.empty() ? json(nullptr) : steps;
}

}  // namespace

std::optional<std::string_view> name_of_pre_tokenizer(const json& normalizer, const json& pre_tokenizer,
                                                      bool ignore_merges) {
  const json wanted_normalizer = plain(normalizer), wanted_pre_tokenizer = plain(pre_tokenizer);
  for (const Entry& entry : kEntries) {
    const NamedPreTokenizer known = entry.make();
    if (plain(known.normalizer) == wanted_normalizer && plain(known.pre_tokenizer) == wanted_pre_tokenizer &&
        known.ignore_merges == ignore_merges) {
      return entry.name;
    }
  }
  return std::nullopt;
}

std::optional<NamedPreTokenizer> find_pre_tokenizer(std::string_view name) {
  for (const Entry& entry : kEntries) {
    if (entry.name == name) return entry.make();
  }
  return std::nullopt;
}

std::string known_pre_tokenizers() {
  std::string out;
  for (const Entry& entry : kEntries) {
    if (!out.empty()) out += ", ";
    out += entry.name;
  }
  return out;
}

}  // namespace slipway::text
