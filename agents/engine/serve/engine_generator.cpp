// Generator over runtime::Engine.
#include "agents/engine/serve/generator.h"

namespace slipway::serve {
namespace {

class EngineGenerator : public Generator {
 public:
  EngineGenerator(const std::filesystem::path& model, const runtime::EngineOptions& options)
      : engine_(model, options) {}

  int64_t max_model_len() const override { return engine_.max_model_len(); }
  int64_t vocab_size() const override { return engine_.architecture().vocab_size; }
  int64_t hidden_size() const override { return engine_.architecture().hidden_size; }
  void load_adapter(const std::string& name, const std::filesystem::path& folder) override {
    engine_.load_adapter(name, folder);
  }
  void unload_adapter(const std::string& name) override { engine_.unload_adapter(name); }
  uint64_t submit(runtime::GenerationRequest request) override { return engine_.submit(std::move(request)); }
  uint64_t submit(runtime::EmbeddingRequest request) override { return engine_.submit(std::move(request)); }
  void cancel(uint64_t id) override { engine_.cancel(id); }
  runtime::EngineStats stats() const override { return engine_.stats(); }

 private:
  runtime::Engine engine_;
};

}  // namespace

std::unique_ptr<Generator> make_engine_generator(const std::filesystem::path& model,
                                                 const runtime::EngineOptions& options) {
  return std::make_unique<EngineGenerator>(model, options);
}

}  // namespace slipway::serve
