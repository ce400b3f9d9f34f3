// Any bytes as a chat template, rendered over one conversation: only base::Error may come out.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "agents/engine/text/chat_template.h"
#include "backend/base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const nlohmann::ordered_json variables = nlohmann::ordered_json::parse(R"({
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi <b>ü</b>\n"},
                 {"role": "assistant", "content": null, "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"x": [1, 2.5, true]}}}]},
                 {"role": "tool", "content": [{"type": "text", "text": "42"}]}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "array"}}}}}],
    "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>", "x": 5, "s": "Hello", "n": null, "l": [3, 1, 2]})");
  try {
    slipway::text::ChatTemplate(std::string(reinterpret_cast<const char*>(data), size)).render_marked(variables);
  } catch (const slipway::base::Error&) {
  }
  return 0;
}
