// Requests to an engine, and what came of them.
#pragma once

#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agents/engine/runtime/engine.h"

namespace slipway::runtime {

struct Outcome {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  FinishReason reason = FinishReason::kError;
  std::string message;

  bool operator==(const Outcome&) const = default;
};

// Submits and returns what will come of it.
inline std::future<Outcome> start(Engine& engine, GenerationRequest request, uint64_t* id = nullptr) {
  auto outcome = std::make_shared<Outcome>();
  auto done = std::make_shared<std::promise<Outcome>>();
  const auto given = request.on_token;
  request.on_token = [outcome, given](const GeneratedToken& token) {
    outcome->tokens.push_back(token.id);
    outcome->logprobs.push_back(token.logprob);
    return given ? given(token) : true;
  };
  request.on_finish = [outcome, done](FinishReason reason, const std::string& message) {
    outcome->reason = reason;
    outcome->message = message;
    done->set_value(*outcome);
  };
  auto future = done->get_future();
  const uint64_t given_id = engine.submit(std::move(request));
  if (id != nullptr) *id = given_id;
  return future;
}

inline GenerationRequest request_of(int number, int64_t length = 0) {
  GenerationRequest request;
  for (int i = 0; i < (length > 0 ? length : 3 + number * 7 % 40); ++i)
    request.prompt.push_back(3 + (number * 31 + i * 17) % 120);
  request.sampling.temperature = number % 3 == 0 ? 0.0 : 0.8;
  request.sampling.seed = static_cast<uint64_t>(number);
  request.max_tokens = 8 + number % 20;
  request.ignore_eos = true;
  return request;
}

inline std::vector<Outcome> all_at_once(Engine& engine, const std::vector<GenerationRequest>& requests) {
  std::vector<std::future<Outcome>> futures;
  for (const auto& request : requests) futures.push_back(start(engine, request));
  std::vector<Outcome> outcomes;
  for (auto& future : futures) outcomes.push_back(future.get());
  return outcomes;
}

}  // namespace slipway::runtime
