#include "agents/engine/serve/chat_prompt.h"

#include "agents/engine/serve/api_error.h"
#include "agents/engine/text/chat_template.h"
#include "agents/engine/text/tokenizer.h"
#include "backend/base/error.h"

namespace slipway::serve {
namespace {

using nlohmann::ordered_json;

std::string text_of(const ordered_json& content) { return content.is_string() ? content.get<std::string>() : ""; }

// Adds to the system message, or puts one in front.
void say_in_system(ordered_json& messages, const std::string& text) {
  if (messages[0]["role"] == "system") {
    messages[0]["content"] = text_of(messages[0]["content"]) + "\n\n" + text;
  } else {
    messages.insert(messages.begin(), {{"role", "system"}, {"content", text}});
  }
}

// A template that knows no tools shows no calls either: they go into the text of their message.
void write_calls_as_text(ordered_json& messages) {
  for (ordered_json& message : messages) {
    if (!message.contains("tool_calls") || !message["tool_calls"].is_array()) continue;
    std::string text = text_of(message["content"]);
    for (const ordered_json& call : message["tool_calls"]) {
      const ordered_json& function = call["function"];
      const ordered_json shown = {{"name", function.value("name", ordered_json())},
                                  {"arguments", function.value("arguments", ordered_json::object())}};
      text += (text.empty() ? "<tool_call>\n" : "\n<tool_call>\n") + shown.dump() + "\n</tool_call>";
    }
    message["content"] = text;
    message.erase("tool_calls");
  }
}

}  // namespace

ChatPrompt::ChatPrompt(const text::Tokenizer& tokenizer)
    : tokenizer_(tokenizer),
      tool_format_(serve::tool_format(tokenizer.chat_template())),
      knows_tools_(template_knows_tools(tokenizer.chat_template())) {
  if (!tokenizer.chat_template().empty()) template_ = std::make_unique<text::ChatTemplate>(tokenizer.chat_template());
}

ChatPrompt::~ChatPrompt() = default;

std::string ChatPrompt::render(const ChatRequest& request) const {
  if (!template_) {
    throw ApiError(
        400,
        "this model has no chat template; use /v1/completions, or put a chat_template.jinja into the model's folder",
        "messages");
  }
  try {
    if (request.tools.active() && !knows_tools_) return render_untold(request);
    return render_with(request, request.messages, request.tools.active());
  } catch (const base::Error& error) {
    throw ApiError(400, std::string("the chat template refused these messages: ") + error.what(), "messages",
                   "invalid_value");
  }
}

// The template does not offer the tools to the model, so a message does.
std::string ChatPrompt::render_untold(const ChatRequest& request) const {
  const std::string instructions = tool_instructions(request.tools.list);
  ordered_json plain = request.messages;
  write_calls_as_text(plain);
  ordered_json messages = plain;
  say_in_system(messages, instructions);
  try {
    return render_with(request, messages, false);
  } catch (const base::Error&) {
    // Some templates know no system message: the first message says it then.
    plain[0]["content"] = instructions + "\n\n" + text_of(plain[0]["content"]);
    return render_with(request, plain, false);
  }
}

std::string ChatPrompt::render_with(const ChatRequest& request, const ordered_json& messages, bool tools) const {
  ordered_json variables = text::chat_variables(tokenizer_, messages, request.add_generation_prompt,
                                                tools ? request.tools.list : ordered_json());
  if (request.template_arguments.is_object()) {
    for (const auto& [name, value] : request.template_arguments.items()) {
      if (name != "messages" && name != "tools") variables[name] = value;
    }
  }
  return template_->render(variables);
}

}  // namespace slipway::serve
