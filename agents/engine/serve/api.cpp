#include "agents/engine/serve/api.h"

#include <spdlog/spdlog.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "agents/engine/serve/api_error.h"
#include "agents/engine/serve/openai_request.h"
#include "agents/engine/serve/openai_response.h"
#include "agents/engine/serve/routes.h"
#include "agents/engine/spec/engine_main.h"
#include "backend/base/error.h"

namespace slipway::serve {
namespace {

using nlohmann::ordered_json;
using SteadyClock = std::chrono::steady_clock;

// Takes the same time wherever the two differ.
bool equal_in_constant_time(const std::string& given, const std::string& expected) {
  unsigned difference = given.size() == expected.size() ? 0 : 1;
  for (size_t i = 0; i < given.size(); ++i) {
    difference |= static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(expected[i % expected.size()]);
  }
  return difference == 0;
}

std::string with_advice(const base::Error& error) {
  return error.what() + (error.advice().empty() ? "" : "; " + error.advice());
}

ApiError api_error(const base::Error& error, const std::string& param) {
  if (error.code() == base::kNotFound) return {404, with_advice(error), param, "not_found"};
  if (error.code() == base::kOutOfMemory) return {503, with_advice(error), param, "out_of_memory"};
  if (error.code() == base::kIo || error.code() == base::kDiskFull) return {500, with_advice(error), param};
  return {400, with_advice(error), param, "invalid_value"};
}

// Why a model could not be loaded: never the client's fault.
ApiError load_error(const base::Error& error, const std::string& model) {
  return {503, "the model " + model + " could not be loaded: " + error.what(), "", "model_not_available"};
}

// max_model_len: the base model's.
ordered_json model_json(const ModelList::Entry& entry, const std::string& base, int64_t max_model_len) {
  return {{"id", entry.name},
          {"object", "model"},
          {"created", entry.created},
          {"owned_by", "slipway"},
          {"root", base},
          {"parent", entry.adapter ? ordered_json(base) : ordered_json()},
          {"max_model_len", max_model_len - entry.virtual_tokens}};
}

// Answers with whatever `work` throws.
void guarded(const std::shared_ptr<Exchange>& exchange, const std::function<void()>& work) {
  try {
    work();
  } catch (const ApiError& error) {
    exchange->respond(error_response(error));
  } catch (const base::Error& error) {
    exchange->respond(error_response(api_error(error, "")));
  } catch (const std::bad_alloc&) {
    exchange->respond(error_response(ApiError(503, "there was not enough memory for this request")));
  } catch (const std::exception& error) {
    spdlog::error("request failed path={} error=\"{}\"", exchange->request().path, error.what());
    exchange->respond(error_response(ApiError(500, "the server failed on this request; its log says why")));
  }
}

template <typename Request>
std::shared_ptr<const Request> shared(Request request) {
  return std::make_shared<const Request>(std::move(request));
}

HttpResponse plain(const std::string& text) { return {200, "text/plain; charset=utf-8", text}; }

}  // namespace

Api::Api(ApiOptions options, ModelList& list, ModelPool& pool, Metrics& metrics, const base::Clock& clock)
    : options_(std::move(options)),
      list_(list),
      pool_(pool),
      metrics_(metrics),
      clock_(clock),
      in_flight_(std::make_shared<std::atomic<int64_t>>(0)) {}

void Api::handle(const std::shared_ptr<Exchange>& exchange) {
  guarded(exchange, [&] {
    const HttpRequest& request = exchange->request();
    if (const std::string allowed = check_route(request); !allowed.empty()) {
      HttpResponse response = error_response(ApiError(405, request.path + " takes " + allowed + " only"));
      response.headers.emplace_back("Allow", allowed);
      exchange->respond(std::move(response));
      return;
    }
    check_key(request);
    check_content_type(request);
    route(exchange);
  });
}

void Api::check_key(const HttpRequest& request) const {
  const bool open =
      request.path == "/health" || request.path == "/ping" || request.path == "/version" || request.path == "/metrics";
  if (options_.api_key.empty() || open) return;
  const std::string given = request.header("authorization");
  if (given.size() > 7 && (given.starts_with("Bearer ") || given.starts_with("bearer ")) &&
      equal_in_constant_time(given.substr(7), options_.api_key))
    return;
  throw ApiError(401,
                 given.empty() ? "this server wants an API key: Authorization: Bearer KEY" : "the API key is wrong", "",
                 "invalid_api_key");
}

void Api::route(const std::shared_ptr<Exchange>& exchange) {
  const HttpRequest& request = exchange->request();
  const std::string& path = request.path;
  if (path == "/v1/chat/completions") {
    const auto wanted = shared(parse_chat_request(request.body));
    with_model(exchange, wanted->options.model, wanted->options.n,
               [=](const ModelApi& model, const Places& places) { model.chat(exchange, *wanted, places); });
  } else if (path == "/v1/completions") {
    const auto wanted = shared(parse_text_request(request.body));
    with_model(exchange, wanted->options.model, wanted->options.best_of * static_cast<int64_t>(wanted->prompts.size()),
               [=](const ModelApi& model, const Places& places) { model.text(exchange, *wanted, places); });
  } else if (path == "/v1/embeddings") {
    const auto wanted = shared(parse_embeddings_request(request.body));
    with_model(exchange, wanted->model, static_cast<int64_t>(wanted->inputs.size()),
               [=](const ModelApi& model, const Places& places) { model.embeddings(exchange, *wanted, places); });
  } else if (path == "/tokenize") {
    const auto wanted = shared(parse_tokenize_request(request.body));
    with_model(exchange, wanted->model, 1,
               [=](const ModelApi& model, const Places&) { exchange->respond(model.tokenize(*wanted)); });
  } else if (path == "/detokenize") {
    const auto wanted = shared(parse_detokenize_request(request.body));
    with_model(exchange, wanted->model, 1,
               [=](const ModelApi& model, const Places&) { exchange->respond(model.detokenize(*wanted)); });
  } else if (path == "/v1/load_lora_adapter") {
    load_adapter(exchange);
  } else if (path == "/v1/unload_lora_adapter") {
    exchange->respond(unload_adapter(request));
  } else if (path == "/metrics") {
    exchange->respond(metrics_text());
  } else if (path == "/version") {
    exchange->respond(json_response({{"version", spec::version()}}));
  } else if (path == "/v1/models") {
    exchange->respond(list_models());
  } else if (path.starts_with(kModelPrefix)) {
    exchange->respond(show_model(decode_percent(path.substr(sizeof kModelPrefix - 1))));
  } else {
    exchange->respond({200, "text/plain", ""});  // health and ping
  }
}

void Api::with_model(const std::shared_ptr<Exchange>& exchange, const std::string& name, int64_t choices, Work work) {
  const ModelTarget target = list_.resolve(name);
  const Places places = take_places(choices);
  const std::string shown = name.empty() ? list_.base_name(target.base) : name;
  with_base(exchange, target.base, [this, target, shown, places, work = std::move(work)](const ModelLease& model) {
    work(ModelApi(model, target, shown, metrics_.of(target.base), clock_), places);
  });
}

void Api::with_base(const std::shared_ptr<Exchange>& exchange, size_t base,
                    std::function<void(const ModelLease&)> work) {
  if (const ModelLease model = pool_.try_use(base)) {
    work(model);
    return;
  }
  const auto begin = SteadyClock::now();
  const auto ready = [exchange, work = std::move(work)](ModelLease model) {
    exchange->defer([exchange, work, model = std::move(model)] { guarded(exchange, [&] { work(model); }); });
  };
  const auto failed = [exchange, name = list_.base_name(base)](const base::Error& error) {
    exchange->respond(error_response(load_error(error, name)));
  };
  // Before the wait: what answers later says itself what is to be done when the client leaves.
  const uint64_t ticket = pool_.take_ticket();
  exchange->on_abandoned([this, base, ticket, begin, weak = std::weak_ptr(exchange)](Abandoned why) {
    if (!pool_.cancel(ticket)) return;
    metrics_.of(base).finished({"abort", 0, 0, std::chrono::duration<double>(SteadyClock::now() - begin).count()});
    const auto waiting = weak.lock();
    if (waiting && why == Abandoned::kTimedOut) waiting->respond(error_response(time_out_error()));
  });
  pool_.wait_for(base, ticket, ready, failed);
}

Places Api::take_places(int64_t choices) const {
  if (in_flight_->fetch_add(choices) + choices > options_.max_in_flight) {
    *in_flight_ -= choices;
    throw ApiError(429,
                   "the queue is full (" + std::to_string(options_.max_in_flight) + " requests); try again in a moment",
                   "", "queue_full");
  }
  return {nullptr, [in_flight = in_flight_, choices](void*) { *in_flight -= choices; }};
}

HttpResponse Api::metrics_text() const {
  std::vector<PoolStats> stats;
  for (size_t i = 0; i < pool_.models().size(); ++i) stats.push_back(pool_.stats(i));
  return {200, "text/plain; version=0.0.4; charset=utf-8", metrics_.text(stats)};
}

HttpResponse Api::list_models() const {
  ordered_json data = ordered_json::array();
  for (const ModelList::Entry& entry : list_.entries())
    data.push_back(model_json(entry, list_.base_name(entry.base), pool_.models()[entry.base].max_model_len));
  return json_response({{"object", "list"}, {"data", data}});
}

HttpResponse Api::show_model(const std::string& name) const {
  list_.resolve(name);
  for (const ModelList::Entry& entry : list_.entries()) {
    if (entry.name == name) {
      return json_response(model_json(entry, list_.base_name(entry.base), pool_.models()[entry.base].max_model_len));
    }
  }
  throw ApiError(404, "the model was unloaded this moment", "model", "model_not_found");
}

void Api::load_adapter(const std::shared_ptr<Exchange>& exchange) {
  const AdapterRequest wanted = parse_load_adapter_request(exchange->request().body);
  if (!options_.runtime_adapters)
    throw ApiError(403, "this server does not let clients load adapters (runtime_adapters is false)");
  const size_t base = list_.resolve_base(wanted.base_model);
  with_base(exchange, base, [this, exchange, wanted, base, places = take_places(1)](const ModelLease& model) {
    try {
      list_.load(wanted.name, base, options_.adapter_root / wanted.path, wanted.task_id, *model->tokenizer,
                 *model->generator);
    } catch (const base::Error& error) {
      const bool name = error.code() == "ALREADY_EXISTS" || error.code() == "INVALID_NAME";
      throw api_error(error, name ? "lora_name" : error.code() == base::kInvalidSpec ? "task_id" : "lora_path");
    }
    spdlog::info("adapter loaded name={} model={}", wanted.name, list_.base_name(base));
    exchange->respond(plain("Success: LoRA adapter '" + wanted.name + "' added successfully."));
  });
}

HttpResponse Api::unload_adapter(const HttpRequest& request) {
  const AdapterRequest wanted = parse_unload_adapter_request(request.body);
  if (!options_.runtime_adapters)
    throw ApiError(403, "this server does not let clients unload adapters (runtime_adapters is false)");
  try {
    const size_t base = list_.forget(wanted.name);
    if (const ModelLease model = pool_.try_use(base)) model->generator->unload_adapter(wanted.name);
  } catch (const base::Error& error) {
    throw api_error(error, "lora_name");
  }
  spdlog::info("adapter unloaded name={}", wanted.name);
  return plain("Success: LoRA adapter '" + wanted.name + "' removed successfully.");
}

}  // namespace slipway::serve
