#include "agents/engine/serve/serve.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "agents/engine/model/architecture.h"
#include "agents/engine/runtime/engine_options.h"
#include "agents/engine/runtime/memory_estimate.h"
#include "agents/engine/serve/access_log.h"
#include "agents/engine/serve/api.h"
#include "agents/engine/serve/api_error.h"
#include "agents/engine/serve/generator.h"
#include "agents/engine/serve/http_server.h"
#include "agents/engine/serve/metrics.h"
#include "agents/engine/serve/model_list.h"
#include "agents/engine/serve/model_pool.h"
#include "agents/engine/serve/openai_response.h"
#include "agents/engine/serve/routes.h"
#include "agents/engine/text/tokenizer.h"
#include "backend/base/clock.h"
#include "backend/base/error.h"

namespace slipway::serve {
namespace {

using SteadyClock = std::chrono::steady_clock;
constexpr auto kPoll = std::chrono::milliseconds(50);
constexpr auto kTick = std::chrono::seconds(30);
constexpr auto kCancelTime = std::chrono::seconds(5);

void check_fingerprint(const BaseModelSettings& model, const text::Tokenizer& tokenizer) {
  if (model.fingerprint.empty() || model.fingerprint == tokenizer.fingerprint()) return;
  throw base::Error(base::kInvalidModel,
                    "the tokenizer of " + model.path.string() + " has fingerprint " +
                        tokenizer.fingerprint().substr(0, 12) + ", but the spec wants " +
                        model.fingerprint.substr(0, 12),
                    "serve the model version that was registered, or take model.fingerprint out of the spec");
}

runtime::EngineOptions engine_options(const ServeSettings& settings, const BaseModelSettings& model) {
  runtime::EngineOptions options;
  options.weight_type = runtime::choose_weight_type(model.dtype, model.path);
  options.threads = settings.threads;
  options.max_model_len = settings.max_model_len;
  options.max_num_seqs = settings.max_num_seqs;
  options.kv_cache_tokens = settings.kv_cache_tokens;
  options.prefix_caching = settings.prefix_caching;
  options.cache_type = runtime::choose_cache_type(settings.kv_cache_dtype);
  options.prompt_tokens_beside = settings.prompt_tokens_beside;
  options.speculative_tokens = settings.speculative_tokens;
  options.adapters_in_memory = settings.adapters_in_memory;
  return options;
}

// One engine's share of limits that are given for all: a model may be shorter than the longest sequence asked for.
runtime::EngineOptions options_of(const ServeSettings& settings, size_t model,
                                  const model::Architecture& architecture) {
  runtime::EngineOptions options = engine_options(settings, settings.models[model]);
  if (settings.models.size() > 1)
    options.max_model_len = std::min(options.max_model_len, architecture.max_position_embeddings);
  return options;
}

// Reads every model's description, which finds most of what may be wrong with one before the first request does.
std::vector<PooledModel> describe_models(const ServeSettings& settings) {
  std::vector<PooledModel> models;
  for (size_t i = 0; i < settings.models.size(); ++i) {
    const model::Architecture architecture = model::load_architecture(settings.models[i].path);
    const runtime::EngineOptions options = options_of(settings, i, architecture);
    models.push_back({settings.models[i].served_model_name, runtime::estimate_memory(architecture, options),
                      runtime::checked_max_length(options, architecture)});
  }
  return models;
}

// `strict`: every adapter must be good.
std::unique_ptr<LoadedModel> load_model(const ServeSettings& settings, size_t index, ModelList& list, bool strict) {
  const BaseModelSettings& model = settings.models[index];
  auto tokenizer = text::load_tokenizer(model.path);
  check_fingerprint(model, *tokenizer);
  const auto options = options_of(settings, index, model::load_architecture(model.path));
  auto generator = make_engine_generator(model.path, options, *tokenizer);
  list.give_adapters(index, *tokenizer, *generator, strict);
  return std::make_unique<LoadedModel>(std::move(tokenizer), std::move(generator));
}

std::vector<std::string> names_of(const ServeSettings& settings) {
  std::vector<std::string> names;
  for (const BaseModelSettings& model : settings.models) names.push_back(model.served_model_name);
  return names;
}

// Only known paths become labels: a scanner must not fill the memory with them.
void count_request(Metrics& metrics, const AccessRecord& record) {
  const bool known = record.status != 404 && record.status != 405;
  const std::string path = record.path.starts_with(kModelPrefix) ? "/v1/models/{model}" : record.path;
  metrics.http(known ? path : "none", record.method.size() <= 7 ? record.method : "other", record.status);
}

int64_t generated_tokens(const ModelPool& pool) {
  int64_t tokens = 0;
  for (size_t i = 0; i < pool.models().size(); ++i) tokens += pool.stats(i).engine.generated_tokens;
  return tokens;
}

void reload_certificate(HttpServer& server) {
  try {
    server.reload_tls();
    spdlog::info("the certificate was read again");
  } catch (const base::Error& error) {
    spdlog::error("the old certificate stays error=\"{}\"", error.what());
  }
}

bool is_loopback(const std::string& url) {
  const std::string host = url.substr(url.find("://") + 3);
  return host.starts_with("127.") || host.starts_with("[::1]");
}

// Until `stop`, and then until the answers under way have ended or their time has passed.
void serve_until(const std::atomic<bool>& stop, const ServeSettings& settings, HttpServer& server,
                 const std::function<void()>& on_tick, std::atomic<bool>& reload) {
  auto next_tick = SteadyClock::now() + kTick;
  while (!stop) {
    std::this_thread::sleep_for(kPoll);
    if (reload.exchange(false)) reload_certificate(server);
    if (SteadyClock::now() < next_tick) continue;
    next_tick += kTick;
    on_tick();
  }
  server.drain();
  spdlog::info("draining active={}", server.active());
  const auto deadline =
      SteadyClock::now() + std::chrono::milliseconds(static_cast<int64_t>(settings.drain_timeout_s * 1000.0));
  while (server.active() > 0 && SteadyClock::now() < deadline) std::this_thread::sleep_for(kPoll);
  if (server.active() > 0) spdlog::warn("cutting off answers after the drain time active={}", server.active());
}

}  // namespace

void run_server(const ServeSettings& settings, const std::atomic<bool>& stop, std::atomic<bool>& reload,
                const std::function<void(const std::string& url)>& on_ready,
                const std::function<void(int64_t generated_tokens)>& on_tick) {
  const base::SystemClock clock;
  const auto begin = SteadyClock::now();
  Metrics metrics(names_of(settings));
  ModelList list(names_of(settings), clock);
  for (const AdapterSettings& adapter : settings.adapters)
    list.expect(adapter.name, adapter.model, adapter.path, adapter.task_id);
  const PoolOptions pool_options{settings.memory_limit_bytes,
                                 std::chrono::milliseconds(static_cast<int64_t>(settings.idle_unload_s * 1000.0))};
  bool starting = true;  // only read where it is written, or after load_now()
  ModelPool pool(describe_models(settings), pool_options,
                 [&](size_t index) { return load_model(settings, index, list, starting); });
  if (settings.models.size() == 1) pool.load_now(0);
  starting = false;
  Api api({settings.api_key, settings.max_num_seqs + settings.queue, settings.runtime_adapters, settings.base_folder},
          list, pool, metrics, clock);

  AccessLog lines(STDOUT_FILENO);
  const auto log = [&](const AccessRecord& record) {
    count_request(metrics, record);
    lines.write(access_line(record, clock.now_ms()));
  };
  const auto refusal = [](int status, const std::string& message) { return error_response(ApiError(status, message)); };
  {
    HttpServer server(
        settings.listen, settings.http, settings.tls,
        [&api](const std::shared_ptr<Exchange>& exchange) { api.handle(exchange); }, refusal, log);
    if (!is_loopback(server.url()) && (settings.api_key.empty() || settings.tls.key.empty())) {
      spdlog::warn("listening beyond this machine without {} url={}", settings.api_key.empty() ? "an API key" : "TLS",
                   server.url());
    }
    spdlog::info("ready url={} models={} load_ms={}", server.url(), settings.models.size(),
                 std::chrono::duration_cast<std::chrono::milliseconds>(SteadyClock::now() - begin).count());
    on_ready(server.url());
    serve_until(
        stop, settings, server, [&] { on_tick(generated_tokens(pool)); }, reload);
  }  // closes what is left, which cancels its requests
  const auto deadline = SteadyClock::now() + kCancelTime;
  while (api.in_flight() > 0 && SteadyClock::now() < deadline) std::this_thread::sleep_for(kPoll);
  if (lines.lost() > 0)
    spdlog::warn("lines of the access log were lost, stdout did not take them count={}", lines.lost());
  spdlog::info("stopped");
}

}  // namespace slipway::serve
