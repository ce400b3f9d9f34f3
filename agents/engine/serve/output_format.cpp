#include "agents/engine/serve/output_format.h"

#include <vector>

#include "agents/engine/runtime/choice_grammar.h"
#include "agents/engine/serve/api_error.h"

namespace slipway::serve {
namespace {

using nlohmann::ordered_json;
using runtime::GrammarKind;

constexpr char kAnyObject[] = R"({"type":"object"})";
constexpr size_t kMaxChoices = 10'000;

// One way of asking: the name of its field, whether it is there, and what it asks for.
class Reader {
 public:
  Reader(const JsonFields& fields, std::string prefix) : fields_(fields), prefix_(std::move(prefix)) {}

  void schema(const std::string& name) {
    const ordered_json* given = fields_.find(name);
    if (given == nullptr) return;
    if (given->is_string()) {
      if (!ordered_json::accept(given->get_ref<const std::string&>())) fields_.fail(name, "a JSON Schema");
      take(name, GrammarKind::kJsonSchema, given->get<std::string>());
    } else if (given->is_object() || given->is_boolean()) {
      take(name, GrammarKind::kJsonSchema, given->dump());
    } else {
      fields_.fail(name, "a JSON Schema");
    }
  }
  void text(const std::string& name, GrammarKind kind) {
    if (const auto given = fields_.text(name)) take(name, kind, *given);
  }
  void choice(const std::string& name) {
    if (fields_.find(name) == nullptr) return;
    const auto choices = fields_.texts(name, kMaxChoices);
    if (choices.empty()) fields_.fail(name, "a list of texts that is not empty");
    take(name, GrammarKind::kEbnf, runtime::choice_grammar(choices));
  }
  void any_object(const std::string& name) {
    if (fields_.boolean(name).value_or(false)) take(name, GrammarKind::kJsonSchema, kAnyObject);
  }
  void take(const std::string& name, GrammarKind kind, std::string text) {
    found_.push_back({kind, std::move(text), prefix_ + name});
  }
  std::vector<OutputFormat> found() { return std::move(found_); }

 private:
  const JsonFields& fields_;
  const std::string prefix_;
  std::vector<OutputFormat> found_;
};

std::vector<OutputFormat> of_response_format(const JsonFields& fields) {
  const ordered_json* given = fields.find("response_format");
  if (given == nullptr) return {};
  constexpr char kExpected[] = "an object whose type is text, json_object, json_schema or structural_tag";
  if (!given->is_object()) fields.fail("response_format", kExpected);
  const JsonFields format(*given, "response_format.");
  const std::string type = format.text("type").value_or("");
  if (type == "text") return {};
  if (type == "json_object" && format.find("schema") == nullptr)
    return {{GrammarKind::kJsonSchema, kAnyObject, "response_format"}};
  if (type == "json_object") {  // with a schema: as llama.cpp and others have it
    if (!format.find("schema")->is_object()) format.fail("schema", "a JSON Schema");
    return {{GrammarKind::kJsonSchema, format.find("schema")->dump(), "response_format.schema"}};
  }
  if (type == "structural_tag") return {{GrammarKind::kStructuralTag, given->dump(), "response_format"}};
  if (type != "json_schema") {
    throw ApiError(400, std::string("response_format must be ") + kExpected, "response_format.type", "invalid_value");
  }
  const ordered_json* inner = format.find("json_schema");
  if (inner == nullptr || !inner->is_object()) format.fail("json_schema", "an object {\"name\", \"schema\"}");
  const JsonFields named(*inner, "response_format.json_schema.");
  const ordered_json* schema = named.find("schema");
  if (schema == nullptr) return {{GrammarKind::kJsonSchema, kAnyObject, "response_format"}};
  if (!schema->is_object()) named.fail("schema", "a JSON Schema");
  return {{GrammarKind::kJsonSchema, schema->dump(), "response_format"}};
}

}  // namespace

std::optional<OutputFormat> parse_output_format(const JsonFields& fields) {
  std::vector<OutputFormat> found = of_response_format(fields);
  Reader guided(fields, "");
  guided.schema("guided_json");
  guided.text("guided_regex", GrammarKind::kRegex);
  guided.choice("guided_choice");
  guided.text("guided_grammar", GrammarKind::kEbnf);
  for (OutputFormat& format : guided.found()) found.push_back(std::move(format));
  if (const ordered_json* given = fields.find("structured_outputs")) {
    if (!given->is_object()) fields.fail("structured_outputs", "an object");
    const JsonFields inner(*given, "structured_outputs.");
    Reader structured(inner, "structured_outputs.");
    structured.schema("json");
    structured.text("regex", GrammarKind::kRegex);
    structured.choice("choice");
    structured.text("grammar", GrammarKind::kEbnf);
    structured.text("structural_tag", GrammarKind::kStructuralTag);
    structured.any_object("json_object");
    for (OutputFormat& format : structured.found()) found.push_back(std::move(format));
  }
  if (found.empty()) return std::nullopt;
  if (found.size() > 1) {
    throw ApiError(400, found[0].field + " and " + found[1].field + " both say what the answer must be; give one",
                   found[1].field, "invalid_value");
  }
  return std::move(found[0]);
}

ordered_json structural_element(const OutputFormat& format) {
  switch (format.kind) {
    case GrammarKind::kJsonSchema:
      return {{"type", "json_schema"}, {"json_schema", ordered_json::parse(format.text)}};
    case GrammarKind::kRegex:
      return {{"type", "regex"}, {"pattern", format.text}};
    case GrammarKind::kEbnf:
      return {{"type", "grammar"}, {"grammar", format.text}};
    case GrammarKind::kStructuralTag:
      break;
  }
  const ordered_json tag = ordered_json::parse(format.text, nullptr, false);
  return tag.is_object() && tag.contains("format") ? tag["format"] : tag;
}

}  // namespace slipway::serve
