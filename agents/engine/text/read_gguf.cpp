// A vocabulary from GGUF metadata (tokenizer.ggml.*) in the common form, see definition.h.
// Keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#tokenizer
#include <algorithm>
#include <unordered_map>

#include "agents/engine/model/gguf.h"
#include "agents/engine/text/definition.h"
#include "agents/engine/text/gguf_pre_tokenizers.h"
#include "agents/engine/text/sentence_piece.h"
#include "agents/engine/text/unicode.h"
#include "backend/base/error.h"

namespace slipway::text {

namespace {

using json = nlohmann::json;

constexpr char kTokensKey[] = "tokenizer.ggml.tokens";

class Reader {
 public:
  explicit Reader(const std::filesystem::path& path) : file_(path) { out_.origin = file_.origin(); }

  TokenizerDefinition read() {
    if (!file_.contains("tokenizer.ggml.model")) {
      throw base::Error(base::kInvalidModel,
                        out_.origin + ": tokenizer.ggml.model is missing: the file holds no vocabulary");
    }
    const auto model = file_.get_string("tokenizer.ggml.model");
    if (model != "gpt2" && model != "llama" && model != "t5" && model != "gemma4") {
      throw base::Error(base::kUnsupported,
                        out_.origin + ": tokenizer.ggml.model \"" + std::string(model) + "\" is not supported",
                        "known: gpt2 (byte-level BPE), llama (SentencePiece BPE), t5 (SentencePiece unigram), gemma4");
    }
    read_tokens();
    if (model == "gpt2") {
      read_byte_level();
    } else {
      read_sentence_piece(model);
    }
    read_special_tokens();
    out_.chat_template = file_.find_string("tokenizer.chat_template").value_or("");
    if (!is_valid_utf8(out_.chat_template))
      throw base::Error(base::kInvalidModel, out_.origin + ": tokenizer.chat_template is not UTF-8");
    return std::move(out_);
  }

 private:
  void read_tokens() {
    const auto tokens = file_.get_strings(kTokensKey);
    if (tokens.empty() || tokens.size() > static_cast<size_t>(kMaxTokens)) {
      throw base::Error(base::kInvalidModel,
                        out_.origin + ": " + kTokensKey + " has " + std::to_string(tokens.size()) + " tokens");
    }
    if (file_.contains("tokenizer.ggml.token_type")) types_ = file_.get_ints("tokenizer.ggml.token_type");
    types_.resize(tokens.size(), kNormal);
    out_.tokens.reserve(tokens.size());
    ids_.reserve(tokens.size());
    for (size_t id = 0; id < tokens.size(); ++id) {
      if (!is_valid_utf8(tokens[id])) {
        throw base::Error(base::kInvalidModel,
                          out_.origin + ": " + kTokensKey + "[" + std::to_string(id) + "] is not UTF-8");
      }
      // How converters fill ids that no token has.
      if (types_[id] == kUnused && tokens[id] == "[PAD" + std::to_string(id) + "]") {
        out_.tokens.emplace_back();
        continue;
      }
      // Of several tokens with one text only the first can ever be meant.
      const bool is_new = ids_.emplace(tokens[id], static_cast<TokenId>(id)).second;
      out_.tokens.emplace_back(is_new ? tokens[id] : std::string_view{});
    }
    add_special_pieces(out_, types_);
  }

  void read_byte_level() {
    // Files from before tokenizer.ggml.pre carried vocabularies of GPT-2's kind.
    const std::string pre(file_.find_string("tokenizer.ggml.pre").value_or("gpt-2"));
    const auto named = find_pre_tokenizer(pre);
    if (!named) {
      throw base::Error(base::kUnsupported, out_.origin + ": tokenizer.ggml.pre \"" + pre + "\" is not supported",
                        "known: " + known_pre_tokenizers() +
                            ". Use the model's Hugging Face folder, whose tokenizer.json says how to split");
    }
    out_.normalizer = named->normalizer;
    out_.pre_tokenizer = named->pre_tokenizer;
    out_.bpe.ignore_merges = named->ignore_merges;
    out_.decoder = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
    add_bos_by_default_ = named->add_bos;
    read_merges();
  }

  void read_merges() {
    const auto merges = file_.get_strings("tokenizer.ggml.merges");
    out_.merges.reserve(merges.size());
    for (size_t rank = 0; rank < merges.size(); ++rank) {
      const size_t space = merges[rank].find(' ', 1);
      const auto left = ids_.find(merges[rank].substr(0, space));
      const auto right = space == std::string_view::npos ? ids_.end() : ids_.find(merges[rank].substr(space + 1));
      if (left == ids_.end() || right == ids_.end()) {
        throw base::Error(base::kInvalidModel, out_.origin + ": tokenizer.ggml.merges[" + std::to_string(rank) +
                                                   "] is not two tokens of the vocabulary");
      }
      out_.merges.emplace_back(left->second, right->second);
    }
  }

  void read_sentence_piece(std::string_view model) {
    const bool has_merges = model == "gemma4";
    SentencePieceOptions options;
    options.unigram = model == "t5";
    options.add_dummy_prefix = file_.find_bool("tokenizer.ggml.add_space_prefix").value_or(!has_merges);
    options.remove_extra_whitespaces =
        options.unigram && file_.find_bool("tokenizer.ggml.remove_extra_whitespaces").value_or(false);
    if (options.unigram && file_.contains("tokenizer.ggml.precompiled_charsmap")) {
      for (const int64_t byte : file_.get_ints("tokenizer.ggml.precompiled_charsmap"))
        options.charsmap.push_back(static_cast<char>(static_cast<unsigned char>(byte)));
    }
    // A few converters name the unknown token only by its id.
    const auto unknown = file_.find_int("tokenizer.ggml.unknown_token_id");
    if (unknown && *unknown >= 0 && *unknown < static_cast<int64_t>(types_.size()) &&
        std::find(types_.begin(), types_.end(), kUnknown) == types_.end()) {
      types_[static_cast<size_t>(*unknown)] = kUnknown;
    }
    std::vector<double> scores;
    if (!has_merges) {
      scores = file_.get_floats("tokenizer.ggml.scores");
      if (scores.size() != out_.tokens.size()) {
        throw base::Error(base::kInvalidModel, out_.origin + ": tokenizer.ggml.scores has not one score per token");
      }
    }
    describe_sentence_piece(out_, types_, scores, options, !has_merges);
    add_bos_by_default_ = true;
    if (options.unigram) add_eos_by_default_ = true;
    if (has_merges) {
      out_.bpe.byte_fallback = true;
      // Newlines never join other characters in this vocabulary.
      out_.pre_tokenizer = {
          {"type", "Split"}, {"pattern", {{"Regex", "[^\n]+|[\n]+"}}}, {"behavior", "Isolated"}, {"invert", false}};
      read_merges();
    }
  }

  // The token that a key like tokenizer.ggml.bos_token_id names.
  std::optional<TokenId> named_token(const char* key) {
    const auto id = file_.find_int(key);
    if (!id) return std::nullopt;
    if (*id < 0 || *id >= static_cast<int64_t>(out_.tokens.size()) || out_.tokens[static_cast<size_t>(*id)].empty()) {
      if (*id == -1 || *id == 0xFFFFFFFF) return std::nullopt;  // how some converters say "none"
      throw base::Error(base::kInvalidModel,
                        out_.origin + ": " + key + " is " + std::to_string(*id) + ", outside the vocabulary");
    }
    return static_cast<TokenId>(*id);
  }

  void read_special_tokens() {
    const auto keep = [&](const char* name, const char* key) {
      if (const auto id = named_token(key)) out_.special_tokens[name] = out_.tokens[static_cast<size_t>(*id)];
    };
    keep("bos_token", "tokenizer.ggml.bos_token_id");
    keep("eos_token", "tokenizer.ggml.eos_token_id");
    keep("pad_token", "tokenizer.ggml.padding_token_id");
    keep("unk_token", "tokenizer.ggml.unknown_token_id");

    const auto bos = named_token("tokenizer.ggml.bos_token_id");
    const auto eos = named_token("tokenizer.ggml.eos_token_id");
    const bool add_bos = bos && file_.find_bool("tokenizer.ggml.add_bos_token").value_or(add_bos_by_default_);
    const bool add_eos = eos && file_.find_bool("tokenizer.ggml.add_eos_token").value_or(add_eos_by_default_);
    out_.post_processor = begin_and_end(out_, add_bos ? *bos : -1, add_eos ? *eos : -1);
  }

  model::GgufFile file_;
  TokenizerDefinition out_;
  std::vector<int64_t> types_;
  std::unordered_map<std::string_view, TokenId> ids_;  // views into the file
  bool add_bos_by_default_ = false, add_eos_by_default_ = false;
};

}  // namespace

TokenizerDefinition read_gguf_tokenizer(const std::filesystem::path& path) { return Reader(path).read(); }

}  // namespace slipway::text
