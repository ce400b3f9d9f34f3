// The routes of slipway-serve: OpenAI's API, vLLM's additions, health and metrics. Called by the HTTP server's workers.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "agents/engine/serve/http.h"
#include "agents/engine/serve/metrics.h"
#include "agents/engine/serve/model_api.h"
#include "agents/engine/serve/model_list.h"
#include "agents/engine/serve/model_pool.h"

namespace slipway::serve {

struct ApiOptions {
  std::string api_key;                 // empty: none is asked for
  int64_t max_in_flight = 320;         // choices running or waiting; more get 429
  bool runtime_adapters = true;        // clients may load and unload
  std::filesystem::path adapter_root;  // relative adapter paths are relative to it
};

class Api {
 public:
  Api(ApiOptions options, ModelList& list, ModelPool& pool, Metrics& metrics, const base::Clock& clock);

  // Answers now, or later from an engine's thread. Any thread.
  void handle(const std::shared_ptr<Exchange>& exchange);

  // Choices that run or wait.
  int64_t in_flight() const { return *in_flight_; }

 private:
  void route(const std::shared_ptr<Exchange>& exchange);
  void check_key(const HttpRequest& request) const;
  HttpResponse metrics_text() const;
  HttpResponse list_models() const;
  HttpResponse show_model(const std::string& name) const;
  void load_adapter(const std::shared_ptr<Exchange>& exchange);
  HttpResponse unload_adapter(const HttpRequest& request);

  // Calls `work` with the model that `name` stands for: now, or once it is loaded. `choices` count as in flight from
  // now on.
  using Work = std::function<void(const ModelApi&, const Places&)>;
  void with_model(const std::shared_ptr<Exchange>& exchange, const std::string& name, int64_t choices, Work work);
  // Likewise with the base model itself in memory.
  void with_base(const std::shared_ptr<Exchange>& exchange, size_t base, std::function<void(const ModelLease&)> work);
  // Throws ApiError 429 when the queue is full.
  Places take_places(int64_t choices) const;

  const ApiOptions options_;
  ModelList& list_;
  ModelPool& pool_;
  Metrics& metrics_;
  const base::Clock& clock_;
  const std::shared_ptr<std::atomic<int64_t>> in_flight_;
};

}  // namespace slipway::serve
