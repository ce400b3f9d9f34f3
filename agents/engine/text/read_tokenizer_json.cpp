// Hugging Face's tokenizer.json and the files beside it, see definition.h.
#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "agents/engine/model/container.h"
#include "agents/engine/text/definition.h"
#include "agents/engine/text/json_fields.h"
#include "agents/engine/text/unicode.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::text {

namespace {

constexpr size_t kMaxFileBytes = size_t{256} << 20U;

using json = nlohmann::json;

json parse_json(const std::string& content, const std::string& origin) {
  try {
    return json::parse(content);
  } catch (const json::exception& error) {
    throw base::Error(base::kInvalidModel, origin + ": not valid JSON: " + error.what(),
                      "download the file again from its origin");
  }
}

TokenId checked_id(const json& value, const std::string& where) {
  if (!value.is_number_integer()) throw bad_field(where, "a token id");
  const auto id = value.get<int64_t>();
  if (id < 0 || id >= kMaxTokens) throw bad_field(where, "a token id from 0 to " + std::to_string(kMaxTokens - 1));
  return static_cast<TokenId>(id);
}

json section_or_null(const json& root, const char* key) {
  const auto found = root.find(key);
  return found == root.end() ? json() : *found;
}

void read_vocabulary(const json& model, TokenizerDefinition& out, const std::string& where) {
  const json& vocabulary = field(model, "vocab", where);
  if (!vocabulary.is_object()) throw bad_field(where + ".vocab", "an object of token to id");
  for (const auto& [token, value] : vocabulary.items()) {
    const std::string here = where + ".vocab[\"" + token + "\"]";
    const auto id = static_cast<size_t>(checked_id(value, here));
    if (token.empty()) throw bad_field(here, "a token that is not empty");
    if (id >= out.tokens.size()) out.tokens.resize(std::max(id + 1, vocabulary.size()));
    if (!out.tokens[id].empty()) {
      throw base::Error(base::kInvalidModel,
                        here + ": id " + std::to_string(id) + " is also that of \"" + out.tokens[id] + "\"");
    }
    out.tokens[id] = token;
  }
  while (!out.tokens.empty() && out.tokens.back().empty()) out.tokens.pop_back();
}

void read_merges(const json& model, TokenizerDefinition& out, const std::string& where) {
  const json& merges = list_field(model, "merges", where);
  std::unordered_map<std::string_view, TokenId> ids;
  ids.reserve(out.tokens.size());
  for (size_t id = 0; id < out.tokens.size(); ++id) {
    if (!out.tokens[id].empty()) ids.emplace(out.tokens[id], static_cast<TokenId>(id));
  }
  out.merges.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto here = [&] { return where + ".merges[" + std::to_string(rank) + "]"; };
    const json& merge = merges[rank];
    std::string_view left;
    std::string_view right;
    if (merge.is_string()) {
      const auto& both = merge.get_ref<const std::string&>();
      const size_t space = both.find(' ');
      if (space == std::string::npos || both.find(' ', space + 1) != std::string::npos)
        throw bad_field(here(), "two tokens with a space between");
      left = std::string_view(both).substr(0, space);
      right = std::string_view(both).substr(space + 1);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = merge[0].get_ref<const std::string&>();
      right = merge[1].get_ref<const std::string&>();
    } else {
      throw bad_field(here(), "two tokens");
    }
    const auto left_id = ids.find(left);
    const auto right_id = ids.find(right);
    if (left_id == ids.end() || right_id == ids.end()) {
      throw base::Error(base::kInvalidModel, here() + ": \"" + std::string(left_id == ids.end() ? left : right) +
                                                 "\" is not in model.vocab");
    }
    out.merges.emplace_back(left_id->second, right_id->second);
  }
}

// A list of [token, score], by id.
void read_unigram(const json& model, TokenizerDefinition& out, const std::string& where) {
  const json& vocabulary = list_field(model, "vocab", where);
  if (vocabulary.size() > static_cast<size_t>(kMaxTokens)) throw bad_field(where + ".vocab", "fewer tokens");
  out.model = ModelType::kUnigram;
  out.bpe.byte_fallback = bool_field(model, "byte_fallback", false, where);
  for (size_t id = 0; id < vocabulary.size(); ++id) {
    const json& entry = vocabulary[id];
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number())
      throw bad_field(where + ".vocab[" + std::to_string(id) + "]", "a token and its score");
    const auto& text = entry[0].get_ref<const std::string&>();
    out.tokens.push_back(text);
    out.scores.push_back(entry[1].get<double>());
  }
  if (model.contains("unk_id") && !model["unk_id"].is_null()) {
    const TokenId unk = checked_id(model["unk_id"], where + ".unk_id");
    if (static_cast<size_t>(unk) >= out.tokens.size()) throw bad_field(where + ".unk_id", "an id of model.vocab");
    out.unk_id = unk;
  }
}

void read_model(const json& root, TokenizerDefinition& out) {
  const std::string where = out.origin + ": model";
  const json& model = field(root, "model", out.origin);
  const std::string type = model.is_object() && !model.contains("type") && model.contains("merges")
                               ? "BPE"
                               : string_field(model, "type", where);
  if (type == "Unigram") {
    read_unigram(model, out, where);
    return;
  }
  if (type != "BPE") throw unsupported_type(where, type, "BPE, Unigram");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const auto found = model.find(key);
    if (found == model.end() || found->is_null()) continue;
    if (!found->is_string()) throw bad_field(where + "." + key, "a string");
    if (!found->get_ref<const std::string&>().empty()) {
      throw base::Error(base::kUnsupported, where + "." + key + " is not supported",
                        "known: vocabularies that leave it empty");
    }
  }
  const auto dropout = model.find("dropout");
  if (dropout != model.end() && !dropout->is_null() && !(dropout->is_number() && dropout->get<double>() == 0.0)) {
    throw base::Error(base::kUnsupported, where + ".dropout is not supported: ids would be random", "set it to null");
  }
  if (model.contains("unk_token") && !model["unk_token"].is_null())
    out.bpe.unk_token = string_field(model, "unk_token", where);
  out.bpe.fuse_unk = bool_field(model, "fuse_unk", false, where);
  out.bpe.byte_fallback = bool_field(model, "byte_fallback", false, where);
  out.bpe.ignore_merges = bool_field(model, "ignore_merges", false, where);
  read_vocabulary(model, out, where);
  read_merges(model, out, where);
}

AddedToken read_added_token(const json& entry, const std::string& where) {
  AddedToken token;
  token.content = string_field(entry, "content", where);
  if (token.content.empty()) throw bad_field(where + ".content", "a text that is not empty");
  token.single_word = bool_field(entry, "single_word", false, where);
  token.lstrip = bool_field(entry, "lstrip", false, where);
  token.rstrip = bool_field(entry, "rstrip", false, where);
  token.special = bool_field(entry, "special", false, where);
  token.normalized = bool_field(entry, "normalized", !token.special, where);
  return token;
}

void read_added_tokens(const json& root, TokenizerDefinition& out) {
  const auto found = root.find("added_tokens");
  if (found == root.end() || found->is_null()) return;
  if (!found->is_array()) throw bad_field(out.origin + ": added_tokens", "a list");
  std::unordered_map<TokenId, std::string> seen;
  std::unordered_map<std::string_view, TokenId> ids;
  for (size_t id = 0; id < out.tokens.size(); ++id) ids.emplace(out.tokens[id], static_cast<TokenId>(id));
  for (size_t index = 0; index < found->size(); ++index) {
    const std::string where = out.origin + ": added_tokens[" + std::to_string(index) + "]";
    AddedToken token = read_added_token((*found)[index], where);
    token.id = checked_id(field((*found)[index], "id", where), where + ".id");
    const auto known = ids.find(token.content);
    if (known != ids.end()) token.id = known->second;  // the vocabulary's id counts
    const auto id = static_cast<size_t>(token.id);
    if (known == ids.end() && id < out.tokens.size() && !out.tokens[id].empty()) {
      throw base::Error(base::kInvalidModel, where + ": id " + std::to_string(token.id) + " is that of \"" +
                                                 out.tokens[id] + "\" in model.vocab");
    }
    const auto [other, is_new] = seen.emplace(token.id, token.content);
    if (!is_new) {
      if (other->second == token.content) continue;
      throw base::Error(base::kInvalidModel,
                        where + ": id " + std::to_string(token.id) + " is also that of \"" + other->second + "\"");
    }
    out.added_tokens.push_back(std::move(token));
  }
}

// A special token of tokenizer_config.json: its text, or an object with `content`.
std::optional<std::string> token_text(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object() && value.contains("content") && value["content"].is_string())
    return value["content"].get<std::string>();
  return std::nullopt;
}

void read_special_tokens(const json& config, TokenizerDefinition& out) {
  for (const char* key : {"bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"}) {
    const auto found = config.find(key);
    if (found == config.end()) continue;
    if (found->is_null()) {
      out.special_tokens.erase(key);
    } else if (const auto text = token_text(*found)) {
      out.special_tokens[key] = *text;
    } else {
      throw bad_field(out.origin + ": " + key, "a token");
    }
  }
  for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
    const auto found = config.find(key);
    if (found == config.end() || !(found->is_array() || found->is_object())) continue;
    size_t index = 0;
    for (const auto& entry : *found) {
      if (const auto text = token_text(entry))
        out.special_tokens["additional_special_tokens." + std::to_string(index++)] = *text;
    }
  }
}

// `chat_template`: a text, or a list of named ones of which "default" counts.
std::string default_template(const json& value, const std::string& where) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) throw bad_field(where, "a text or a list of named templates");
  std::string first;
  for (const auto& entry : value) {
    const std::string source = string_field(entry, "template", where);
    if (string_field(entry, "name", where) == "default") return source;
    if (first.empty()) first = source;
  }
  return first;
}

// Tokens that only tokenizer_config.json knows of.
void read_added_tokens_decoder(const json& config, TokenizerDefinition& out) {
  const auto found = config.find("added_tokens_decoder");
  if (found == config.end() || !found->is_object()) return;
  std::unordered_set<std::string> known(out.tokens.begin(), out.tokens.end());
  std::unordered_set<TokenId> used;
  for (const AddedToken& token : out.added_tokens) {
    known.insert(token.content);
    used.insert(token.id);
  }
  for (const auto& [key, entry] : found->items()) {
    const std::string where = out.origin + ": added_tokens_decoder." + key;
    AddedToken token = read_added_token(entry, where);
    if (known.contains(token.content)) continue;
    const bool number = !key.empty() && key.size() < 8 &&
                        std::all_of(key.begin(), key.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (!number) throw bad_field(where, "a token id as the key");
    token.id = checked_id(json(std::stoll(key)), where);
    const auto id = static_cast<size_t>(token.id);
    if (used.contains(token.id) || (id < out.tokens.size() && !out.tokens[id].empty())) {
      throw base::Error(base::kInvalidModel, where + ": another token has this id in tokenizer.json");
    }
    used.insert(token.id);
    out.added_tokens.push_back(std::move(token));
  }
}

}  // namespace

void read_config_files(const std::filesystem::path& folder, TokenizerDefinition& out) {
  const auto read = [&](const std::string& name) -> std::optional<std::string> {
    if (!std::filesystem::exists(folder / name)) return std::nullopt;
    return base::read_file(folder / name, kMaxFileBytes);
  };
  read_config_files(read, folder, out);
}

void read_config_files(const ReadFile& read, const std::filesystem::path& folder, TokenizerDefinition& out) {
  const std::string tokenizer_json = out.origin;
  const auto read_if_there = [&](const char* name) -> json {
    const auto path = folder / name;
    const auto text = read(name);
    if (!text) return json::object();
    out.origin = path.string();  // messages name the file at hand
    json content = parse_json(*text, path.string());
    if (!content.is_object()) throw bad_field(path.string(), "an object");
    return content;
  };
  read_special_tokens(read_if_there("special_tokens_map.json"), out);
  const json chat_template_file = read_if_there("chat_template.json");
  if (chat_template_file.contains("chat_template")) {
    out.chat_template = default_template(chat_template_file["chat_template"], out.origin + ": chat_template");
  }
  json config = read_if_there("tokenizer_config.json");
  read_special_tokens(config, out);
  read_added_tokens_decoder(config, out);
  if (config.contains("chat_template") && !config["chat_template"].is_null()) {
    out.chat_template = default_template(config["chat_template"], out.origin + ": chat_template");
  }
  const auto template_file = folder / "chat_template.jinja";
  if (auto text = read("chat_template.jinja")) out.chat_template = std::move(*text);
  if (!is_valid_utf8(out.chat_template)) throw base::Error(base::kInvalidModel, template_file.string() + ": not UTF-8");
  config.erase("chat_template");
  out.config = std::move(config);
  out.origin = tokenizer_json;
}

TokenizerDefinition parse_tokenizer_json(const std::string& content, const std::string& origin) {
  TokenizerDefinition out;
  out.origin = origin;
  const json root = parse_json(content, origin);
  if (!root.is_object()) throw bad_field(origin, "an object");
  read_model(root, out);
  read_added_tokens(root, out);
  out.normalizer = section_or_null(root, "normalizer");
  out.pre_tokenizer = section_or_null(root, "pre_tokenizer");
  out.post_processor = section_or_null(root, "post_processor");
  out.decoder = section_or_null(root, "decoder");
  return out;
}

TokenizerDefinition read_container_tokenizer(const std::filesystem::path& path) {
  const model::Container container(path);
  const auto text = container.file("tokenizer.json");
  if (!text) throw base::Error(base::kInvalidModel, path.string() + ": there is no tokenizer.json in it");
  TokenizerDefinition out = parse_tokenizer_json(*text, (path / "tokenizer.json").string());
  read_config_files([&](const std::string& name) { return container.file(name); }, path, out);
  return out;
}

TokenizerDefinition read_tokenizer_json(const std::filesystem::path& path) {
  const bool is_folder = std::filesystem::is_directory(path);
  const auto file = is_folder ? path / "tokenizer.json" : path;
  TokenizerDefinition out = parse_tokenizer_json(base::read_file(file, kMaxFileBytes), file.string());
  read_config_files(file.parent_path(), out);
  return out;
}

}  // namespace slipway::text
