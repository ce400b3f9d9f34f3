// Generator over runtime::Engine.
#include <algorithm>
#include <set>

#include "agents/engine/runtime/grammar.h"
#include "agents/engine/serve/generator.h"
#include "agents/engine/serve/tools.h"
#include "agents/engine/text/tokenizer.h"

namespace slipway::serve {
namespace {

// The vocabulary as grammars see it. Special tokens stand for no text, but for those that families write around calls.
runtime::GrammarVocabulary grammar_vocabulary(const runtime::Engine& engine, const text::Tokenizer& tokenizer) {
  std::set<std::string> markers;
  for (const auto format : {ToolFormat::kHermes, ToolFormat::kLlama, ToolFormat::kMistralList}) {
    for (const std::string& marker : tool_markers(format)) markers.insert(marker);
  }
  runtime::GrammarVocabulary vocabulary;
  vocabulary.size = engine.architecture().vocab_size;
  vocabulary.stop_tokens = engine.architecture().eos_token_ids;
  if (vocabulary.stop_tokens.empty() && tokenizer.eos_id()) vocabulary.stop_tokens.push_back(*tokenizer.eos_id());
  const auto count = std::min<int64_t>(tokenizer.vocab_size(), vocabulary.size);
  for (int32_t id = 0; id < count; ++id) {
    const std::string bytes = tokenizer.token_bytes(id);
    vocabulary.tokens.push_back(tokenizer.is_special(id) && !markers.contains(bytes) ? "" : bytes);
  }
  return vocabulary;
}

class EngineGenerator : public Generator {
 public:
  EngineGenerator(const std::filesystem::path& model, const runtime::EngineOptions& options,
                  const text::Tokenizer& tokenizer)
      : engine_(model, options),
        grammars_(runtime::module_folders(), [this, &tokenizer] { return grammar_vocabulary(engine_, tokenizer); }) {}

  int64_t max_model_len() const override { return engine_.max_model_len(); }
  int64_t vocab_size() const override { return engine_.architecture().vocab_size; }
  int64_t hidden_size() const override { return engine_.architecture().hidden_size; }
  void load_adapter(const std::string& name, const std::filesystem::path& folder, int64_t task_id) override {
    engine_.load_adapter(name, folder, task_id);
  }
  void unload_adapter(const std::string& name) override { engine_.unload_adapter(name); }
  int64_t virtual_tokens(const std::string& adapter) const override { return engine_.virtual_tokens(adapter); }
  std::shared_ptr<runtime::TokenConstraint> constrain(runtime::GrammarKind kind, const std::string& text) override {
    return grammars_.compile(kind, text);
  }
  uint64_t submit(runtime::GenerationRequest request) override { return engine_.submit(std::move(request)); }
  uint64_t submit(runtime::EmbeddingRequest request) override { return engine_.submit(std::move(request)); }
  void cancel(uint64_t id) override { engine_.cancel(id); }
  runtime::EngineStats stats() const override { return engine_.stats(); }

 private:
  runtime::Engine engine_;
  runtime::GrammarCompiler grammars_;
};

}  // namespace

std::unique_ptr<Generator> make_engine_generator(const std::filesystem::path& model,
                                                 const runtime::EngineOptions& options,
                                                 const text::Tokenizer& tokenizer) {
  return std::make_unique<EngineGenerator>(model, options, tokenizer);
}

}  // namespace slipway::serve
