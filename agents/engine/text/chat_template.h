// Chat templates: our own Jinja subset with Transformers' extensions. Templates come from strangers, so depth, steps and
// output size are bounded.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

namespace slipway::text {

class ChatTemplate {
 public:
  // Parses `source`. Throws base::Error INVALID_MODEL with line and column.
  explicit ChatTemplate(const std::string& source);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  // Renders with `variables` in scope: messages, tools, add_generation_prompt, bos_token, eos_token, and others.
  // Key order of objects is kept. Any thread. Throws base::Error (raise_exception's text, or the limit that was hit).
  std::string render(const nlohmann::ordered_json& variables) const;

 private:
  struct Program;
  std::unique_ptr<const Program> program_;
};

class Tokenizer;

// The prompt for `messages` ([{"role","content",...}]) with the tokenizer's own template and special tokens, as
// apply_chat_template does. Throws base::Error when the tokenizer has no template.
std::string render_chat(const Tokenizer& tokenizer, const nlohmann::ordered_json& messages, bool add_generation_prompt,
                        const nlohmann::ordered_json& tools = nullptr);

}  // namespace slipway::text
