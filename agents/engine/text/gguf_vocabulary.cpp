#include "agents/engine/text/gguf_vocabulary.h"

#include <algorithm>
#include <string>
#include <vector>

#include "agents/engine/text/gguf_pre_tokenizers.h"
#include "agents/engine/text/pipeline.h"
#include "agents/engine/text/sentence_piece.h"
#include "backend/base/error.h"

namespace slipway::text {

namespace {

using json = nlohmann::json;

// Whether a section of tokenizer.json holds a step of this type, at any depth.
bool has_step(const json& section, std::string_view type) {
  if (!section.is_structured()) return false;
  if (section.is_object() && section.value("type", "") == type) return true;
  return std::any_of(section.begin(), section.end(), [&](const json& inner) { return has_step(inner, type); });
}

// Whether a SentencePiece vocabulary's pre-tokenizer leaves the text whole: none, the mark for spaces, or a split at
// spaces, which its normalizer has replaced before.
bool splits_nothing(const json& section) {
  if (!section.is_object() || section.value("type", "") == "Metaspace") return true;
  return section.value("type", "") == "Split" && section.value("pattern", json::object()).value("String", "") == " ";
}

bool is_byte_token(const std::string& token) {
  return token.size() == 6 && token.starts_with("<0x") && token.back() == '>' &&
         std::all_of(token.begin() + 3, token.begin() + 5, [](unsigned char c) { return std::isxdigit(c) != 0; });
}

class Exporter {
 public:
  Exporter(model::GgufWriter& writer, const Pipeline& tokenizer, int64_t rows)
      : writer_(writer), tokenizer_(tokenizer), definition_(tokenizer.definition()), rows_(static_cast<size_t>(rows)) {}

  void tokens() {
    std::vector<std::string> texts(rows_);
    std::vector<int32_t> types(rows_, kUnused);
    for (size_t id = 0; id < std::min(rows_, definition_.tokens.size()); ++id) {
      if (definition_.tokens[id].empty()) continue;
      texts[id] = definition_.tokens[id];
      types[id] = sentence_piece() && is_byte_token(texts[id]) ? kByte : kNormal;
      if (definition_.bpe.unk_token == texts[id]) types[id] = kUnknown;
    }
    for (const AddedToken& token : definition_.added_tokens) {
      const auto id = static_cast<size_t>(token.id);
      if (id >= rows_) continue;
      texts[id] = token.content;
      if (types[id] != kUnknown) types[id] = token.special ? kControl : kUserDefined;
    }
    for (size_t id = 0; id < rows_; ++id) {
      if (texts[id].empty()) texts[id] = "[PAD" + std::to_string(id) + "]";
    }
    writer_.texts("tokenizer.ggml.tokens", texts);
    writer_.integers("tokenizer.ggml.token_type", types);
  }

  void model() {
    if (definition_.model == ModelType::kUnigram) unsupported("it is a unigram model");
    if (sentence_piece()) {
      if (!splits_nothing(definition_.pre_tokenizer))
        unsupported("its SentencePiece tokens are split by a rule of their own");
      writer_.text("tokenizer.ggml.model", "llama");
      writer_.text("tokenizer.ggml.pre", "default");
      scores();
      const bool prefix =
          has_step(definition_.normalizer, "Prepend") || has_step(definition_.pre_tokenizer, "Metaspace");
      writer_.boolean("tokenizer.ggml.add_space_prefix", prefix);
      return;
    }
    const auto name =
        name_of_pre_tokenizer(definition_.normalizer, definition_.pre_tokenizer, definition_.bpe.ignore_merges);
    if (!name) unsupported("GGUF has no name for the way its tokenizer.json splits text");
    writer_.text("tokenizer.ggml.model", "gpt2");
    writer_.text("tokenizer.ggml.pre", *name);
    std::vector<std::string> merges;
    merges.reserve(definition_.merges.size());
    for (const auto& [left, right] : definition_.merges) {
      merges.push_back(definition_.tokens[static_cast<size_t>(left)] + " " +
                       definition_.tokens[static_cast<size_t>(right)]);
    }
    writer_.texts("tokenizer.ggml.merges", merges);
  }

  void special_tokens(std::span<const TokenId> end_ids) {
    const auto put = [&](const char* key, std::optional<TokenId> id) {
      if (id && *id >= 0 && static_cast<size_t>(*id) < rows_) writer_.integer(key, static_cast<uint32_t>(*id));
    };
    put("tokenizer.ggml.bos_token_id", tokenizer_.bos_id());
    const auto end = end_ids.empty() ? tokenizer_.eos_id() : std::optional(end_ids[0]);
    put("tokenizer.ggml.eos_token_id", end);
    if (end_ids.size() > 1) put("tokenizer.ggml.eot_token_id", end_ids[1]);
    put("tokenizer.ggml.padding_token_id", tokenizer_.pad_id());
    if (definition_.bpe.unk_token)
      put("tokenizer.ggml.unknown_token_id", tokenizer_.token_to_id(*definition_.bpe.unk_token));
    const auto framed = tokenizer_.encode("a", true, true);
    writer_.boolean("tokenizer.ggml.add_bos_token", tokenizer_.bos_id() && framed.front() == *tokenizer_.bos_id());
    writer_.boolean("tokenizer.ggml.add_eos_token", end && framed.back() == *end);
    if (!tokenizer_.chat_template().empty()) writer_.text("tokenizer.chat_template", tokenizer_.chat_template());
  }

 private:
  bool sentence_piece() const {
    return definition_.bpe.byte_fallback && !has_step(definition_.pre_tokenizer, "ByteLevel");
  }

  // SentencePiece joins the neighbours whose joint token has the best score; a token's first merge says how early that
  // is.
  void scores() {
    std::vector<float> scores(rows_, 0);
    std::vector<bool> known(rows_, false);
    for (size_t rank = 0; rank < definition_.merges.size(); ++rank) {
      const auto& [left, right] = definition_.merges[rank];
      const auto joint = tokenizer_.token_to_id(definition_.tokens[static_cast<size_t>(left)] +
                                                definition_.tokens[static_cast<size_t>(right)]);
      if (!joint || static_cast<size_t>(*joint) >= rows_ || known[static_cast<size_t>(*joint)]) continue;
      known[static_cast<size_t>(*joint)] = true;
      scores[static_cast<size_t>(*joint)] = -static_cast<float>(rank + 1);
    }
    writer_.numbers("tokenizer.ggml.scores", scores);
  }

  [[noreturn]] void unsupported(const std::string& why) const {
    throw base::Error(base::kUnsupported, definition_.origin + ": the tokenizer cannot be written as GGUF: " + why,
                      "leave out the GGUF output, or convert the exported folder with llama.cpp's converter");
  }

  model::GgufWriter& writer_;
  const Pipeline& tokenizer_;
  const TokenizerDefinition& definition_;
  size_t rows_;
};

}  // namespace

void put_vocabulary(model::GgufWriter& writer, const Tokenizer& tokenizer, int64_t rows,
                    std::span<const TokenId> end_ids) {
  const auto* pipeline = dynamic_cast<const Pipeline*>(&tokenizer);
  if (pipeline == nullptr) {
    throw base::Error(base::kUnsupported, "this tokenizer cannot be saved",
                      "known: tokenizers that load_tokenizer() made");
  }
  Exporter exporter(writer, *pipeline, rows);
  exporter.model();
  exporter.tokens();
  exporter.special_tokens(end_ids);
}

}  // namespace slipway::text
