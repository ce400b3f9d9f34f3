// What serve/ needs of the inference engine. runtime::Engine stands behind it in the program, a fake in the tests.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "agents/engine/runtime/engine.h"
#include "agents/engine/runtime/grammar_module.h"

namespace slipway::text {
class Tokenizer;
}

namespace slipway::serve {

// Methods as those of runtime::Engine, from which their promises come. Any thread.
class Generator {
 public:
  virtual ~Generator() = default;
  virtual int64_t max_model_len() const = 0;
  virtual int64_t vocab_size() const = 0;
  virtual int64_t hidden_size() const = 0;  // of an embedding
  virtual void load_adapter(const std::string& name, const std::filesystem::path& folder, int64_t task_id) = 0;
  virtual void unload_adapter(const std::string& name) = 0;
  virtual int64_t virtual_tokens(const std::string& adapter) const = 0;
  // A constraint for one answer. Throws base::Error: UNSUPPORTED, INVALID_REQUEST.
  virtual std::shared_ptr<runtime::TokenConstraint> constrain(runtime::GrammarKind kind, const std::string& text) = 0;
  virtual uint64_t submit(runtime::GenerationRequest request) = 0;
  virtual uint64_t submit(runtime::EmbeddingRequest request) = 0;
  virtual void cancel(uint64_t id) = 0;
  virtual runtime::EngineStats stats() const = 0;
};

// The real one; the tokenizer must outlive it. Throws base::Error when the model cannot be loaded.
std::unique_ptr<Generator> make_engine_generator(const std::filesystem::path& model,
                                                 const runtime::EngineOptions& options,
                                                 const text::Tokenizer& tokenizer);

}  // namespace slipway::serve
