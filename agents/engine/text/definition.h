// What a tokenizer is made of, before it is compiled: the common form of tokenizer.json and GGUF metadata. Written by
// read_tokenizer_json.cpp and read_gguf.cpp, read by pipeline.cpp and save_tokenizer.cpp.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agents/engine/text/tokenizer.h"

namespace slipway::text {

struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool single_word = false;
  bool lstrip = false;
  bool rstrip = false;
  bool normalized = false;
  bool special = false;
};

enum class ModelType { kBpe, kUnigram };

// The options of Hugging Face's BPE model; of these, the unigram model has byte_fallback.
struct BpeOptions {
  std::optional<std::string> unk_token;
  bool fuse_unk = false;
  bool byte_fallback = false;
  bool ignore_merges = false;
};

struct TokenizerDefinition {
  std::string origin;  // the file, for messages

  // tokenizer.json's sections, null where there is none.
  nlohmann::json normalizer, pre_tokenizer, post_processor, decoder;
  ModelType model = ModelType::kBpe;
  BpeOptions bpe;
  std::vector<double> scores;                       // unigram: log-probabilities by id
  std::optional<TokenId> unk_id;                    // unigram
  std::vector<std::string> tokens;                  // the model's vocabulary by id; empty where an id is not in use
  std::vector<std::pair<TokenId, TokenId>> merges;  // by rank
  std::vector<AddedToken> added_tokens;             // by id

  // bos_token, eos_token, pad_token, unk_token and others of tokenizer_config.json: their text by key.
  std::map<std::string, std::string> special_tokens;
  nlohmann::json config = nlohmann::json::object();  // the rest of tokenizer_config.json
  std::string chat_template;
};

// Highest number of ids; larger ids in a file are refused, since they size tables.
inline constexpr int64_t kMaxTokens = 4'000'000;

// From a folder or a tokenizer.json. Throws base::Error INVALID_MODEL with file and key, or UNSUPPORTED.
TokenizerDefinition read_tokenizer_json(const std::filesystem::path& path);
// The same from memory, without the files that lie beside it.
TokenizerDefinition parse_tokenizer_json(const std::string& content, const std::string& origin);

// From a .gguf's metadata.
TokenizerDefinition read_gguf_tokenizer(const std::filesystem::path& path);

// From a SentencePiece .model, and what lies beside it; or from memory.
TokenizerDefinition read_sentence_piece(const std::filesystem::path& path);
TokenizerDefinition parse_sentence_piece(std::string_view content, const std::string& origin);

// From a .slipway file.
TokenizerDefinition read_container_tokenizer(const std::filesystem::path& path);

// Adds what tokenizer_config.json and the other files of a folder say of special tokens and the chat template. The
// second form gets them from read(name): nothing when there is none; messages name them as files in `folder`.
using ReadFile = std::function<std::optional<std::string>(const std::string& name)>;
void read_config_files(const std::filesystem::path& folder, TokenizerDefinition& definition);
void read_config_files(const ReadFile& read, const std::filesystem::path& folder, TokenizerDefinition& definition);

// Compiles a definition. Throws base::Error.
std::unique_ptr<const Tokenizer> make_tokenizer(TokenizerDefinition definition);

}  // namespace slipway::text
