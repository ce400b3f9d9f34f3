#include "agents/engine/serve/serve.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "agents/engine/serve/access_log.h"
#include "agents/engine/serve/api.h"
#include "agents/engine/serve/generator.h"
#include "agents/engine/serve/http_server.h"
#include "agents/engine/serve/metrics.h"
#include "agents/engine/serve/model_list.h"
#include "agents/engine/text/tokenizer.h"
#include "backend/base/clock.h"
#include "backend/base/error.h"

namespace slipway::serve {
namespace {

using SteadyClock = std::chrono::steady_clock;
constexpr auto kPoll = std::chrono::milliseconds(50);
constexpr auto kTick = std::chrono::seconds(30);
constexpr auto kCancelTime = std::chrono::seconds(5);

void check_fingerprint(const ServeSettings& settings, const text::Tokenizer& tokenizer) {
  if (settings.fingerprint.empty() || settings.fingerprint == tokenizer.fingerprint()) return;
  throw base::Error(base::kInvalidModel,
                    "the tokenizer of " + settings.model.string() + " has fingerprint " +
                        tokenizer.fingerprint().substr(0, 12) + ", but the spec wants " +
                        settings.fingerprint.substr(0, 12),
                    "serve the model version that was registered, or take model.fingerprint out of the spec");
}

bool is_loopback(const std::string& url) { return url.starts_with("http://127.") || url.starts_with("http://[::1]"); }

}  // namespace

void run_server(const ServeSettings& settings, const std::atomic<bool>& stop,
                const std::function<void(const std::string& url)>& on_ready,
                const std::function<void(int64_t generated_tokens)>& on_tick) {
  const base::SystemClock clock;
  const auto begin = SteadyClock::now();
  const auto tokenizer = text::load_tokenizer(settings.model);
  check_fingerprint(settings, *tokenizer);

  runtime::EngineOptions options;
  options.weight_type = runtime::choose_weight_type(settings.dtype, settings.model);
  options.threads = settings.threads;
  options.max_model_len = settings.max_model_len;
  options.max_num_seqs = settings.max_num_seqs;
  options.kv_cache_tokens = settings.kv_cache_tokens;
  options.prefix_caching = settings.prefix_caching;
  options.cache_type = runtime::choose_cache_type(settings.kv_cache_dtype);
  options.prompt_tokens_beside = settings.prompt_tokens_beside;
  options.speculative_tokens = settings.speculative_tokens;
  options.adapters_in_memory = settings.adapters_in_memory;
  Metrics metrics(settings.served_model_name);
  auto generator = make_engine_generator(settings.model, options, *tokenizer);
  ModelList models(settings.served_model_name, tokenizer->fingerprint(), *generator, clock);
  for (const auto& [name, folder] : settings.adapters) models.load(name, folder);
  Api api({settings.api_key, settings.max_num_seqs + settings.queue, settings.runtime_adapters, settings.base_folder},
          models, *generator, *tokenizer, metrics, clock);

  AccessLog lines(STDOUT_FILENO);
  const auto log = [&](const AccessRecord& record) {
    // Only known paths become labels: a scanner must not fill the memory with them.
    metrics.http(record.status == 404 || record.status == 405 ? "none"
                 : record.path.starts_with("/v1/models/")     ? "/v1/models/{model}"
                                                              : record.path,
                 record.method.size() <= 7 ? record.method : "other", record.status);
    lines.write(access_line(record, clock.now_ms()));
  };
  const auto refusal = [](int status, const std::string& message) { return error_response(ApiError(status, message)); };
  {
    HttpServer server(
        settings.listen, settings.http, [&api](const std::shared_ptr<Exchange>& exchange) { api.handle(exchange); },
        refusal, log);
    if (!is_loopback(server.url()) && settings.api_key.empty()) {
      spdlog::warn("listening beyond this machine without an API key or TLS url={}", server.url());
    }
    spdlog::info("ready url={} model={} load_ms={}", server.url(), settings.served_model_name,
                 std::chrono::duration_cast<std::chrono::milliseconds>(SteadyClock::now() - begin).count());
    on_ready(server.url());

    auto next_tick = SteadyClock::now() + kTick;
    while (!stop) {
      std::this_thread::sleep_for(kPoll);
      if (SteadyClock::now() < next_tick) continue;
      next_tick += kTick;
      on_tick(generator->stats().generated_tokens);
    }

    server.drain();
    spdlog::info("draining active={}", server.active());
    const auto deadline =
        SteadyClock::now() + std::chrono::milliseconds(static_cast<int64_t>(settings.drain_timeout_s * 1000.0));
    while (server.active() > 0 && SteadyClock::now() < deadline) std::this_thread::sleep_for(kPoll);
    if (server.active() > 0) {
      spdlog::warn("cutting off answers after the drain time active={}", server.active());
    }
  }  // closes what is left, which cancels its requests
  const auto deadline = SteadyClock::now() + kCancelTime;
  while (api.in_flight() > 0 && SteadyClock::now() < deadline) std::this_thread::sleep_for(kPoll);
  generator.reset();  // joins the engine's thread; its callbacks still reach tokenizer and metrics
  if (lines.lost() > 0)
    spdlog::warn("lines of the access log were lost, stdout did not take them count={}", lines.lost());
  spdlog::info("stopped");
}

}  // namespace slipway::serve
