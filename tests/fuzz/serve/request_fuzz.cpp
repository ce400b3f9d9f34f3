// Any body of any route becomes a request or an ApiError, and every error has a body that is JSON.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "agents/engine/serve/api_error.h"
#include "agents/engine/serve/openai_request.h"
#include "agents/engine/serve/openai_response.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace slipway::serve;
  if (size < 1) return 0;
  const std::string body(reinterpret_cast<const char*>(data + 1), size - 1);
  try {
    switch (data[0] % 6) {
      case 0: {
        const ChatRequest request = parse_chat_request(body);
        if (request.options.n < 1 || request.messages.empty()) std::abort();
        for (const auto format : {ToolFormat::kHermes, ToolFormat::kLlama, ToolFormat::kMistralList}) {
          tool_grammar(request.tools, format, request.options.output_format);
        }
        break;
      }
      case 1: {
        const TextRequest request = parse_text_request(body);
        if (request.prompts.empty()) std::abort();
        break;
      }
      case 2:
        parse_tokenize_request(body);
        break;
      case 3:
        parse_detokenize_request(body);
        break;
      case 4:
        if (parse_embeddings_request(body).inputs.empty()) std::abort();
        break;
      default:
        parse_load_adapter_request(body);
    }
  } catch (const ApiError& error) {
    if (!nlohmann::json::accept(error_response(error).body)) std::abort();
  }
  return 0;
}
