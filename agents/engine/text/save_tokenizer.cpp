// Writes a tokenizer as a Hugging Face folder, see tokenizer.h. Used by train when it exports a model.
#include "agents/engine/text/pipeline.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::text {

namespace {

using json = nlohmann::ordered_json;

void append_string(std::string& out, const std::string& text) { out += json(text).dump(); }

// The vocabulary and merges are written by hand: as JSON values they would take ten times their size.
std::string bpe_json(const TokenizerDefinition& definition) {
  std::string out;
  const BpeOptions& options = definition.bpe;
  out += ",\n\"model\": {\n\"type\": \"BPE\",\n\"dropout\": null,\n\"unk_token\": ";
  out += options.unk_token ? json(*options.unk_token).dump() : "null";
  const auto flag = [](bool value) { return value ? "true" : "false"; };
  out += std::string(",\n\"continuing_subword_prefix\": null,\n\"end_of_word_suffix\": null,\n\"fuse_unk\": ") +
         flag(options.fuse_unk) + ",\n\"byte_fallback\": " + flag(options.byte_fallback) +
         ",\n\"ignore_merges\": " + flag(options.ignore_merges) + ",\n\"vocab\": {";
  bool first = true;
  for (size_t id = 0; id < definition.tokens.size(); ++id) {
    if (definition.tokens[id].empty()) continue;
    out += first ? "\n" : ",\n";
    first = false;
    append_string(out, definition.tokens[id]);
    out += ": " + std::to_string(id);
  }
  out += "\n},\n\"merges\": [";
  for (size_t rank = 0; rank < definition.merges.size(); ++rank) {
    out += rank == 0 ? "\n[" : ",\n[";
    append_string(out, definition.tokens[static_cast<size_t>(definition.merges[rank].first)]);
    out += ", ";
    append_string(out, definition.tokens[static_cast<size_t>(definition.merges[rank].second)]);
    out += "]";
  }
  return out + "\n]\n}\n";
}

std::string unigram_json(const TokenizerDefinition& definition) {
  std::string out = ",\n\"model\": {\n\"type\": \"Unigram\",\n\"unk_id\": ";
  out += definition.unk_id ? std::to_string(*definition.unk_id) : "null";
  out += std::string(",\n\"byte_fallback\": ") + (definition.bpe.byte_fallback ? "true" : "false") + ",\n\"vocab\": [";
  for (size_t id = 0; id < definition.tokens.size(); ++id) {
    out += id == 0 ? "\n[" : ",\n[";
    append_string(out, definition.tokens[id]);
    out += ", " + json(definition.scores[id]).dump() + "]";
  }
  return out + "\n]\n}\n";
}

std::string tokenizer_json(const TokenizerDefinition& definition) {
  const auto section = [](const nlohmann::json& value) { return value.dump(2); };
  std::string out = "{\n\"version\": \"1.0\",\n\"truncation\": null,\n\"padding\": null,\n\"added_tokens\": [";
  for (size_t index = 0; index < definition.added_tokens.size(); ++index) {
    const AddedToken& token = definition.added_tokens[index];
    const json entry = {{"id", token.id},          {"content", token.content}, {"single_word", token.single_word},
                        {"lstrip", token.lstrip},  {"rstrip", token.rstrip},   {"normalized", token.normalized},
                        {"special", token.special}};
    out += (index == 0 ? "\n" : ",\n") + entry.dump();
  }
  out += "\n],\n\"normalizer\": " + section(definition.normalizer) +
         ",\n\"pre_tokenizer\": " + section(definition.pre_tokenizer) +
         ",\n\"post_processor\": " + section(definition.post_processor) +
         ",\n\"decoder\": " + section(definition.decoder);
  out += definition.model == ModelType::kUnigram ? unigram_json(definition) : bpe_json(definition);
  return out + "}\n";
}

bool is_named_token(const std::string& key) { return key.find('.') == std::string::npos; }

json special_tokens_map(const TokenizerDefinition& definition) {
  json out = json::object();
  for (const auto& [key, content] : definition.special_tokens) {
    if (is_named_token(key)) out[key] = content;
  }
  return out;
}

json tokenizer_config(const TokenizerDefinition& definition, int64_t model_max_length) {
  json out = json::object();
  for (const auto& [key, value] : definition.config.items()) out[key] = json::parse(value.dump());
  json::object_t decoder;  // appended to as a list: looking up each key would take quadratic time
  for (const AddedToken& token : definition.added_tokens) {
    const json entry = {{"content", token.content},         {"lstrip", token.lstrip},
                        {"normalized", token.normalized},   {"rstrip", token.rstrip},
                        {"single_word", token.single_word}, {"special", token.special}};
    decoder.emplace_back(std::to_string(token.id), entry);
  }
  out["added_tokens_decoder"] = std::move(decoder);
  for (const auto& [key, content] : definition.special_tokens) {
    if (is_named_token(key)) out[key] = content;
  }
  if (model_max_length > 0) out["model_max_length"] = model_max_length;
  if (!out.contains("clean_up_tokenization_spaces")) out["clean_up_tokenization_spaces"] = false;
  // The class that takes tokenizer.json as it is; model-specific ones rebuild parts of it.
  out["tokenizer_class"] = "PreTrainedTokenizerFast";
  if (!definition.chat_template.empty()) out["chat_template"] = definition.chat_template;
  return out;
}

}  // namespace

void save_tokenizer(const Tokenizer& tokenizer, const std::filesystem::path& folder, int64_t model_max_length) {
  const auto* pipeline = dynamic_cast<const Pipeline*>(&tokenizer);
  if (pipeline == nullptr) {
    throw base::Error(base::kUnsupported, "this tokenizer cannot be saved",
                      "known: tokenizers that load_tokenizer() made");
  }
  const TokenizerDefinition& definition = pipeline->definition();
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw base::system_error("cannot create " + folder.string(), error.value());
  base::write_file_atomically(folder / "special_tokens_map.json", special_tokens_map(definition).dump(2) + "\n");
  base::write_file_atomically(folder / "tokenizer_config.json",
                              tokenizer_config(definition, model_max_length).dump(2) + "\n");
  if (!definition.chat_template.empty())
    base::write_file_atomically(folder / "chat_template.jinja", definition.chat_template);
  base::write_file_atomically(folder / "tokenizer.json", tokenizer_json(definition));
}

}  // namespace slipway::text
