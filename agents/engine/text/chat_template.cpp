// Chat templates, see chat_template.h: the template language is in jinja/.
#include "agents/engine/text/chat_template.h"

#include "agents/engine/text/jinja/parser.h"
#include "agents/engine/text/jinja/renderer.h"
#include "agents/engine/text/tokenizer.h"
#include "agents/engine/text/unicode.h"
#include "backend/base/error.h"

namespace slipway::text {

struct ChatTemplate::Program {
  jinja::Tree tree;
};

ChatTemplate::ChatTemplate(const std::string& source) {
  if (!is_valid_utf8(source)) throw base::Error(base::kInvalidModel, "the chat template is not UTF-8");
  program_ = std::make_unique<const Program>(Program{jinja::parse(source)});
}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

std::string ChatTemplate::render(const nlohmann::ordered_json& variables) const {
  return jinja::Renderer(program_->tree, {}).render(variables);
}

RenderedChat ChatTemplate::render_marked(const nlohmann::ordered_json& variables) const {
  jinja::Renderer renderer(program_->tree, {});
  RenderedChat out;
  out.text = renderer.render(variables);
  for (const auto& span : renderer.generation_spans()) out.generated.emplace_back(span.begin, span.end);
  return out;
}

bool ChatTemplate::marks_generation() const { return program_->tree.has_generation; }

namespace {

// Names a message's reasoning goes by; Transformers copies it so that every template finds it.
void alias_reasoning(nlohmann::ordered_json& messages) {
  for (auto& message : messages) {
    if (!message.is_object())
      throw base::Error(base::kInvalidData, "a chat message must be an object with role and content");
    for (const char* key : {"reasoning_content", "thinking", "reasoning"}) {
      const auto found = message.find(key);
      if (found == message.end() || found->is_null()) continue;
      const nlohmann::ordered_json reasoning = *found;
      if (!message.contains("thinking")) message["thinking"] = reasoning;
      message["reasoning_content"] = reasoning;
      break;
    }
  }
}

}  // namespace

nlohmann::ordered_json chat_variables(const Tokenizer& tokenizer, nlohmann::ordered_json messages,
                                      bool add_generation_prompt, nlohmann::ordered_json tools) {
  if (!messages.is_array()) throw base::Error(base::kInvalidData, "messages must be a list");
  alias_reasoning(messages);
  nlohmann::ordered_json variables = {{"messages", std::move(messages)},
                                      {"tools", std::move(tools)},
                                      {"documents", nullptr},
                                      {"add_generation_prompt", add_generation_prompt}};
  const auto add = [&](const char* name, std::optional<TokenId> id) {
    if (id) variables[name] = tokenizer.id_to_token(*id);
  };
  add("bos_token", tokenizer.bos_id());
  add("eos_token", tokenizer.eos_id());
  add("pad_token", tokenizer.pad_id());
  return variables;
}

ChatTemplate template_of(const Tokenizer& tokenizer) {
  if (tokenizer.chat_template().empty()) {
    throw base::Error(base::kUnsupported, "the tokenizer has no chat template",
                      "use an instruction-tuned model, or plain text in place of messages");
  }
  return ChatTemplate(tokenizer.chat_template());
}

std::string render_chat(const Tokenizer& tokenizer, const nlohmann::ordered_json& messages, bool add_generation_prompt,
                        const nlohmann::ordered_json& tools) {
  return template_of(tokenizer).render(chat_variables(tokenizer, messages, add_generation_prompt, tools));
}

}  // namespace slipway::text
