// Any JSON Schema, regular expression, EBNF or list of tools that a request asks for either becomes a constraint, which
// then takes tokens until it ends, or is refused with a reason. The first byte says which.
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "agents/engine/runtime/grammar.h"
#include "agents/engine/serve/api_error.h"
#include "agents/engine/serve/openai_request.h"
#include "backend/base/error.h"

namespace {

using namespace slipway;

constexpr int32_t kVocabulary = 257;  // every byte, and the end
constexpr int kMostSteps = 64;

runtime::GrammarCompiler& compiler() {
  static runtime::GrammarCompiler compiler({std::filesystem::path(SLIPWAY_BINARY_DIR) / "bin"}, [] {
    runtime::GrammarVocabulary vocabulary;
    for (int32_t i = 0; i < kVocabulary - 1; ++i) vocabulary.tokens.emplace_back(1, static_cast<char>(i));
    vocabulary.tokens.emplace_back();
    vocabulary.size = kVocabulary;
    vocabulary.stop_tokens = {kVocabulary - 1};
    return vocabulary;
  });
  return compiler;
}

// Takes one of the allowed tokens at a time, chosen by `choice`.
void follow(runtime::TokenConstraint& constraint, unsigned choice) {
  std::vector<int32_t> mask((kVocabulary + 31) / 32);
  for (int step = 0; step < kMostSteps && !constraint.complete(); ++step) {
    if (!constraint.fill_mask(mask)) std::abort();
    std::vector<int32_t> allowed;
    for (int32_t token = 0; token < kVocabulary; ++token) {
      if ((static_cast<uint32_t>(mask[static_cast<size_t>(token / 32)]) >> (token % 32) & 1U) != 0)
        allowed.push_back(token);
    }
    if (allowed.empty()) return;  // a grammar of nothing
    choice = choice * 1103515245U + 12345U;
    if (!constraint.accept(allowed[choice / 65536 % allowed.size()])) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const std::string text(reinterpret_cast<const char*>(data + 2), size - 2);
  nlohmann::ordered_json body = {{"prompt", "x"}};
  const nlohmann::ordered_json parsed = nlohmann::ordered_json::parse(text, nullptr, false);
  switch (data[0] % 3) {
    case 0:
      if (parsed.is_discarded()) return 0;
      body["guided_json"] = parsed;
      break;
    case 1:
      body["guided_regex"] = text;
      break;
    default:
      body["guided_grammar"] = text;
  }
  try {
    const auto request =
        serve::parse_text_request(body.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
    const auto& format = request.options.output_format;
    if (!format) std::abort();
    follow(*compiler().compile(format->kind, format->text), data[1]);
  } catch (const serve::ApiError&) {
  } catch (const base::Error& error) {
    if (error.code() == base::kUnsupported || std::string(error.what()).empty()) std::abort();
  }
  return 0;
}
