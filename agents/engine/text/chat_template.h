// Chat templates: our own Jinja subset with Transformers' extensions. Templates come from strangers, so depth, steps
// and output size are bounded.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace slipway::text {

struct RenderedChat {
  std::string text;
  std::vector<std::pair<size_t, size_t>> generated;  // [begin, end) in bytes: what {% generation %} blocks wrote
};

class ChatTemplate {
 public:
  // Parses `source`. Throws base::Error INVALID_MODEL with line and column.
  explicit ChatTemplate(const std::string& source);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  // Renders with `variables` in scope: messages, tools, add_generation_prompt, bos_token, eos_token, and others.
  // Key order of objects is kept. Any thread. Throws base::Error CHAT_TEMPLATE (raise_exception's text, or the limit
  // that was hit).
  std::string render(const nlohmann::ordered_json& variables) const;

  // Whether the template says with {% generation %} what the assistant writes; and rendering that tells where.
  bool marks_generation() const;
  RenderedChat render_marked(const nlohmann::ordered_json& variables) const;

 private:
  struct Program;
  std::unique_ptr<const Program> program_;
};

class Tokenizer;

// The variables that apply_chat_template gives to a template; others may be added. Reasoning gets all of its names.
nlohmann::ordered_json chat_variables(const Tokenizer& tokenizer, nlohmann::ordered_json messages,
                                      bool add_generation_prompt, nlohmann::ordered_json tools = nullptr);

// The tokenizer's own template, parsed: to be kept where many conversations are rendered. Throws base::Error
// UNSUPPORTED when there is none.
ChatTemplate template_of(const Tokenizer& tokenizer);

// The prompt for `messages` ([{"role","content",...}]) with the tokenizer's own template and special tokens, as
// apply_chat_template does. Throws base::Error when the tokenizer has no template.
std::string render_chat(const Tokenizer& tokenizer, const nlohmann::ordered_json& messages, bool add_generation_prompt,
                        const nlohmann::ordered_json& tools = nullptr);

}  // namespace slipway::text
