// Reads a post-processor, see post_processor.h.
#include "agents/engine/text/post_processor.h"

#include "agents/engine/text/definition.h"
#include "agents/engine/text/json_fields.h"

namespace slipway::text {

namespace {

TokenId token_id(const nlohmann::json& value, const std::string& where) {
  if (!value.is_number_integer()) throw bad_field(where, "a token id");
  const auto id = value.get<int64_t>();
  if (id < 0 || id >= kMaxTokens) throw bad_field(where, "a token id");
  return static_cast<TokenId>(id);
}

// ["<s>", 0], as BertProcessing and RobertaProcessing name their tokens.
TokenId named_token(const nlohmann::json& section, const char* key, const std::string& where) {
  const auto& pair = list_field(section, key, where);
  if (pair.size() != 2) throw bad_field(where + "." + key, "a token and its id");
  return token_id(pair[1], where + "." + key + "[1]");
}

PostProcessor parse_template(const nlohmann::json& section, const std::string& where) {
  PostProcessor out;
  bool behind_sequence = false;
  const auto& single = list_field(section, "single", where);
  for (size_t index = 0; index < single.size(); ++index) {
    const std::string here = where + ".single[" + std::to_string(index) + "]";
    const auto& item = single[index];
    if (item.is_object() && item.contains("Sequence")) {
      if (behind_sequence || string_field(item["Sequence"], "id", here) != "A")
        throw bad_field(here, "sequence A, and it once");
      behind_sequence = true;
      continue;
    }
    const std::string name = string_field(field(item, "SpecialToken", here), "id", here + ".SpecialToken");
    const std::string at = where + ".special_tokens." + name;
    const auto& entry = field(field(section, "special_tokens", where), name.c_str(), where + ".special_tokens");
    for (const auto& id : list_field(entry, "ids", at)) {
      (behind_sequence ? out.suffix : out.prefix).push_back(token_id(id, at + ".ids"));
    }
  }
  if (!behind_sequence) throw bad_field(where + ".single", "sequence A");
  return out;
}

PostProcessor parse(const nlohmann::json& section, const std::string& where, int depth) {
  if (depth > kMaxSectionDepth) throw base::Error(base::kInvalidModel, where + ": nested too deeply");
  const std::string type = string_field(section, "type", where);
  if (type == "ByteLevel") return {};  // only moves offsets
  if (type == "TemplateProcessing") return parse_template(section, where);
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    return {{named_token(section, "cls", where)}, {named_token(section, "sep", where)}};
  }
  if (type == "Sequence") {
    PostProcessor out;
    const auto& list = list_field(section, "processors", where);
    for (size_t index = 0; index < list.size(); ++index) {
      const PostProcessor step = parse(list[index], where + ".processors[" + std::to_string(index) + "]", depth + 1);
      out.prefix.insert(out.prefix.begin(), step.prefix.begin(), step.prefix.end());
      out.suffix.insert(out.suffix.end(), step.suffix.begin(), step.suffix.end());
    }
    return out;
  }
  throw unsupported_type(where, type, "Sequence, TemplateProcessing, ByteLevel, BertProcessing, RobertaProcessing");
}

}  // namespace

PostProcessor parse_post_processor(const nlohmann::json& section, const std::string& origin) {
  return section.is_null() ? PostProcessor{} : parse(section, origin + ": post_processor", 0);
}

}  // namespace slipway::text
