#include "agents/engine/text/gguf_vocabulary.h"

#include <utility>

#include "agents/engine/text/definition.h"
#include "agents/engine/text/gguf_pre_tokenizers.h"
#include "backend/base/error.h"

namespace slipway::text {

namespace {

constexpr int32_t kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5;

// Text on which pre-tokenizers differ, as llama.cpp's converter finds them out.
constexpr char kProbe[] =
    "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n\U0001F680 (normal) \U0001F636\u200D\U0001F32B\uFE0F 3 33 333 "
    "3333 33333 "
    "333333 3.3 3..3 3...3 Hello 'll 're don't WE'VE I'D \u10D2\u10D0\u10DB\u10D0\u10E0\u10EF\u10DD\u10D1\u10D0 "
    "\u4F60\u597D"
    "\u4E16\u754C \u043F\u0440\u0438\u0432\u0435\u0442 ------======= \u00BD CamelCase snake_case //path\r\n\tint x=1; "
    "''''''";

// The name of a pre-tokenizer that treats the probe as this tokenizer does.
std::string pre_tokenizer_of(const TokenizerDefinition& definition) {
  const auto wanted = make_tokenizer(definition)->encode(kProbe, false, false);
  const std::string names = known_pre_tokenizers() + ", ";
  for (size_t begin = 0, end = 0; (end = names.find(", ", begin)) != std::string::npos; begin = end + 2) {
    const std::string name = names.substr(begin, end - begin);
    const auto candidate = find_pre_tokenizer(name);
    TokenizerDefinition other = definition;
    other.normalizer = candidate->normalizer;
    other.pre_tokenizer = candidate->pre_tokenizer;
    other.bpe.ignore_merges = candidate->ignore_merges;
    if (make_tokenizer(std::move(other))->encode(kProbe, false, false) == wanted) return name;
  }
  throw base::Error(base::kUnsupported, definition.origin + ": llama.cpp has no name for this pre-tokenizer",
                    "set output.gguf to \"\"; output.merged holds the same model");
}

}  // namespace

GgufVocabulary gguf_vocabulary(const std::filesystem::path& folder, int64_t size) {
  TokenizerDefinition definition = read_tokenizer_json(folder / "tokenizer.json");
  read_config_files(folder, definition);
  const std::string decoder = definition.decoder.is_object() ? definition.decoder.value("type", "") : "";
  if (definition.model != ModelType::kBpe || decoder != "ByteLevel") {
    throw base::Error(base::kUnsupported, definition.origin + ": only byte-level BPE can be written as GGUF",
                      "set output.gguf to \"\"; output.merged holds the same model");
  }
  GgufVocabulary vocabulary;
  vocabulary.pre_tokenizer = pre_tokenizer_of(definition);
  vocabulary.chat_template = definition.chat_template;
  vocabulary.tokens = definition.tokens;
  vocabulary.tokens.resize(static_cast<size_t>(size));
  vocabulary.types.assign(vocabulary.tokens.size(), kNormal);
  for (const AddedToken& token : definition.added_tokens) {
    const auto id = static_cast<size_t>(token.id);
    if (id >= vocabulary.tokens.size()) continue;
    vocabulary.tokens[id] = token.content;
    vocabulary.types[id] = token.special ? kControl : kUserDefined;
  }
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    if (!vocabulary.tokens[id].empty()) continue;
    vocabulary.tokens[id] = "[PAD" + std::to_string(id) + "]";
    vocabulary.types[id] = kUnused;
  }
  for (const auto& [left, right] : definition.merges) {
    vocabulary.merges.push_back(definition.tokens[static_cast<size_t>(left)] + " " +
                                definition.tokens[static_cast<size_t>(right)]);
  }
  const auto tokenizer = make_tokenizer(std::move(definition));
  vocabulary.bos = tokenizer->bos_id();
  vocabulary.eos = tokenizer->eos_id();
  vocabulary.pad = tokenizer->pad_id();
  const auto begun = tokenizer->encode("a", true);
  vocabulary.add_bos = vocabulary.bos && begun.size() > 1 && begun.front() == *vocabulary.bos;
  return vocabulary;
}

}  // namespace slipway::text
