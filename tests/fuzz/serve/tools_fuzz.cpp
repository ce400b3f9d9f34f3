// Any answer is read into text and calls, the same however it is cut into pieces.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "agents/engine/serve/tool_parser.h"

namespace {

using namespace slipway::serve;

// Content, then name and arguments of each call.
std::vector<std::string> read(ToolFormat format, const std::string& text, size_t piece) {
  ToolParser parser(format);
  std::vector<std::string> result(1);
  std::vector<ToolCallDelta> deltas;
  for (size_t i = 0; i < text.size(); i += piece) parser.push(text.substr(i, piece), result[0], deltas);
  parser.finish(result[0], deltas);
  for (const ToolCallDelta& delta : deltas) {
    if (!delta.id.empty()) result.insert(result.end(), {delta.name, ""});
    if (result.size() < 3) std::abort();
    result.back() += delta.arguments;
  }
  return result;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  constexpr ToolFormat kFormats[] = {ToolFormat::kHermes, ToolFormat::kLlama, ToolFormat::kMistralList,
                                     ToolFormat::kMistralArgs};
  const ToolFormat format = kFormats[data[0] % 4];
  const std::string text(reinterpret_cast<const char*>(data + 2), size - 2);
  if (read(format, text, size) != read(format, text, data[1] % 16 + 1U)) std::abort();
  return 0;
}
