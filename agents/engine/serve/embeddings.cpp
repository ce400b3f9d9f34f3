#include "agents/engine/serve/embeddings.h"

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "agents/engine/serve/openai_response.h"
#include "backend/base/error.h"

namespace slipway::serve {
namespace {

using nlohmann::ordered_json;

std::string base64(const std::vector<float>& values) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<unsigned char> bytes(values.size() * sizeof(float));
  std::memcpy(bytes.data(), values.data(), bytes.size());  // little-endian, as every machine that we build for
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k) group = group << 8U | (k < count ? bytes[i + k] : 0U);
    for (size_t k = 0; k < 4; ++k) text += k <= count ? kDigits[group >> (18 - 6 * k) & 63U] : '=';
  }
  return text;
}

void scale_to_one(std::vector<float>& values) {
  double squares = 0;
  for (const float value : values) squares += static_cast<double>(value) * value;
  const double scale = squares > 0 ? 1.0 / std::sqrt(squares) : 0;
  for (float& value : values) value = static_cast<float>(value * scale);
}

}  // namespace

Embeddings::Embeddings(EmbeddingsPlan plan, std::shared_ptr<Exchange> exchange, Generator& generator,
                       std::function<void()> done)
    : plan_(std::move(plan)),
      exchange_(std::move(exchange)),
      generator_(generator),
      done_(std::move(done)),
      vectors_(plan_.inputs.size()),
      open_(plan_.inputs.size()) {}

void Embeddings::start() {
  for (size_t i = 0; i < plan_.inputs.size(); ++i) {
    runtime::EmbeddingRequest request;
    request.prompt = plan_.inputs[i];
    request.adapter = plan_.adapter;
    request.priority = plan_.priority;
    request.on_finish = [self = shared_from_this(), i](runtime::FinishReason reason, const std::string& message,
                                                       std::vector<float> state) {
      self->take(i, reason, message, std::move(state));
    };
    try {
      const uint64_t id = generator_.submit(std::move(request));
      const std::lock_guard lock(mutex_);
      queued_.push_back(id);
      if (ended_) break;
    } catch (const base::Error& error) {
      {
        const std::lock_guard lock(mutex_);
        end(error_response(ApiError(error.code() == base::kNotFound ? 404 : 400, error.what(),
                                    error.code() == base::kNotFound ? "model" : "input",
                                    error.code() == base::kNotFound ? "model_not_found" : "invalid_value")));
      }
      break;
    }
  }
  exchange_->on_abandoned([weak = weak_from_this()](Abandoned why) {
    if (const auto self = weak.lock()) self->abandon(why);
  });
  std::vector<uint64_t> late;
  {
    const std::lock_guard lock(mutex_);
    if (ended_ && open_ > 0) late = queued_;
  }
  for (const uint64_t id : late) generator_.cancel(id);
}

void Embeddings::take(size_t index, runtime::FinishReason reason, const std::string& message,
                      std::vector<float> state) {
  const std::lock_guard lock(mutex_);
  --open_;
  if (ended_) return;
  if (reason != runtime::FinishReason::kStop) {
    end(error_response(reason == runtime::FinishReason::kCancelled ? ApiError(503, "the server is stopping")
                                                                   : ApiError(500, "the engine failed: " + message)));
    return;
  }
  scale_to_one(state);
  vectors_[index] = std::move(state);
  if (open_ > 0) return;

  int64_t tokens = 0;
  for (const auto& input : plan_.inputs) tokens += static_cast<int64_t>(input.size());
  ordered_json data = ordered_json::array();
  for (size_t i = 0; i < vectors_.size(); ++i) {
    data.push_back({{"object", "embedding"}, {"index", i}});
    data.back()["embedding"] = plan_.base64 ? ordered_json(base64(vectors_[i])) : ordered_json(vectors_[i]);
  }
  HttpResponse response;
  response.body = ordered_json({{"id", plan_.id},
                                {"object", "list"},
                                {"created", plan_.created},
                                {"model", plan_.model},
                                {"data", std::move(data)},
                                {"usage", {{"prompt_tokens", tokens}, {"total_tokens", tokens}}}})
                      .dump();
  AccessNotes notes;
  notes.model = plan_.model;
  notes.prompt_tokens = tokens;
  notes.finish = "stop";
  exchange_->note(std::move(notes));
  end(std::move(response));
}

void Embeddings::abandon(Abandoned why) {
  std::vector<uint64_t> running;
  {
    const std::lock_guard lock(mutex_);
    running = queued_;
    if (!ended_ && why == Abandoned::kTimedOut) end(error_response(time_out_error()));
    if (!ended_) {
      ended_ = true;
      done_();
    }
  }
  for (const uint64_t id : running) generator_.cancel(id);
}

void Embeddings::end(HttpResponse response) {
  ended_ = true;
  exchange_->respond(std::move(response));
  done_();
}

}  // namespace slipway::serve
