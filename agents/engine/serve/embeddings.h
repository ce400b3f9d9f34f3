// One embeddings request under way: each input's vector from the engine, then the answer. Made by api.cpp.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "agents/engine/serve/api_error.h"
#include "agents/engine/serve/generator.h"
#include "agents/engine/serve/http.h"

namespace slipway::serve {

struct EmbeddingsPlan {
  std::string id;
  int64_t created = 0;  // Unix seconds
  std::string model;    // as the client named it
  std::string adapter;  // empty: the base model
  std::vector<std::vector<int32_t>> inputs;
  int64_t priority = 0;
  bool base64 = false;
};

// An input's vector is the final hidden state of its last token, scaled to length 1: what vLLM gives for a decoder.
// Lives until the engine has called back for its last input.
class Embeddings : public std::enable_shared_from_this<Embeddings> {
 public:
  // `done` is called once, at the end.
  Embeddings(EmbeddingsPlan plan, std::shared_ptr<Exchange> exchange, Generator& generator, std::function<void()> done);

  // Queues every input. Answers the exchange itself, with errors too.
  void start();

 private:
  void take(size_t index, runtime::FinishReason reason, const std::string& message, std::vector<float> state);
  void abandon(Abandoned why);
  void end(HttpResponse response);  // with mutex_ held

  const EmbeddingsPlan plan_;
  const std::shared_ptr<Exchange> exchange_;
  Generator& generator_;
  const std::function<void()> done_;

  std::mutex mutex_;
  std::vector<std::vector<float>> vectors_;
  std::vector<uint64_t> queued_;  // the engine's ids
  size_t open_;
  bool ended_ = false;
};

}  // namespace slipway::serve
