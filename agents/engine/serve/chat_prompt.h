// From a chat request to the model's prompt: its template, and its tools. Used by api.cpp.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "agents/engine/serve/openai_request.h"
#include "agents/engine/serve/tools.h"

namespace slipway::text {
class ChatTemplate;
class Tokenizer;
}  // namespace slipway::text

namespace slipway::serve {

// Any thread.
class ChatPrompt {
 public:
  explicit ChatPrompt(const text::Tokenizer& tokenizer);
  ~ChatPrompt();

  // Throws ApiError 400: no template, or the template refuses the messages.
  std::string render(const ChatRequest& request) const;

  ToolFormat tool_format() const { return tool_format_; }

 private:
  std::string render_with(const ChatRequest& request, const nlohmann::ordered_json& messages, bool tools) const;
  std::string render_untold(const ChatRequest& request) const;

  const text::Tokenizer& tokenizer_;
  const ToolFormat tool_format_;
  const bool knows_tools_;
  std::unique_ptr<const text::ChatTemplate> template_;  // null: the model has none
};

}  // namespace slipway::serve
