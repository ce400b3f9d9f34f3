// Text to token ids and back. Shared by prep, train, eval, serve and the console's preview; one instance serves many
// threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace slipway::text {

using TokenId = int32_t;

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Ids of `text` (UTF-8; invalid bytes are treated as U+FFFD, as Hugging Face does after decoding). parse_special:
  // text like <|im_start|> becomes its one token. add_special: put in what the post-processor adds (BOS and the like).
  virtual std::vector<TokenId> encode(std::string_view text, bool add_special, bool parse_special = true) const = 0;

  // Text of `ids`; with skip_special, special tokens leave nothing. Unknown ids throw base::Error.
  virtual std::string decode(std::span<const TokenId> ids, bool skip_special) const = 0;

  // The bytes that one token stands for (may be part of a character), for streaming. None for an id that only the model
  // has: vocabularies are padded, and a model may say any of its ids.
  virtual std::string token_bytes(TokenId id) const = 0;

  // The vocabulary's own spelling of a token, and the reverse.
  virtual std::string id_to_token(TokenId id) const = 0;
  virtual std::optional<TokenId> token_to_id(std::string_view token) const = 0;

  virtual int32_t vocab_size() const = 0;  // highest id plus one
  virtual bool is_special(TokenId id) const = 0;

  virtual std::optional<TokenId> bos_id() const = 0;
  virtual std::optional<TokenId> eos_id() const = 0;
  virtual std::optional<TokenId> pad_id() const = 0;

  // The Jinja source of the chat template that came with the vocabulary; empty when there is none.
  virtual const std::string& chat_template() const = 0;

  // SHA-256 over vocabulary, merges and template: serving refuses an adapter that was trained with another.
  virtual std::string fingerprint() const = 0;

  // What decode() takes away once from the very beginning of a text: the space SentencePiece puts there. Mostly empty.
  virtual const std::string& stripped_prefix() const;
};

// From a Hugging Face folder (tokenizer.json or tokenizer.model, tokenizer_config.json, chat_template.jinja), a
// tokenizer.json, a SentencePiece .model, a .gguf, or a .slipway. Throws base::Error (INVALID_MODEL naming file and
// key, UNSUPPORTED listing what is known).
std::unique_ptr<const Tokenizer> load_tokenizer(const std::filesystem::path& path);

// Writes tokenizer.json, tokenizer_config.json (with the chat template and the special tokens), special_tokens_map.json
// and, where there is a template, chat_template.jinja: Hugging Face's AutoTokenizer and `tokenizers` load them and give
// the same ids, also when the tokenizer came from a GGUF. Each file is written in one step. model_max_length: positions
// the model has, 0 to leave it as it was. Throws base::Error.
void save_tokenizer(const Tokenizer& tokenizer, const std::filesystem::path& folder, int64_t model_max_length = 0);

// Turns a stream of tokens into a stream of whole UTF-8 characters: bytes of an unfinished character wait. One thread.
class StreamDecoder {
 public:
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special);
  std::string push(TokenId id);
  std::string flush();  // what still waits, as U+FFFD where it is no character

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_;
  bool at_start_ = true;
  std::string pending_;
};

}  // namespace slipway::text
