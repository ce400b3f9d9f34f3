// Doubles for tests of serve/: a tokenizer of bytes, an engine that the test plays, and an exchange that keeps the
// answer.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "agents/engine/serve/generator.h"
#include "agents/engine/serve/http.h"
#include "agents/engine/serve/openai_response.h"
#include "agents/engine/text/tokenizer.h"
#include "backend/base/error.h"

namespace slipway::serve {

// One token per byte.
class ByteTokenizer : public text::Tokenizer {
 public:
  std::vector<text::TokenId> encode(std::string_view text, bool, bool) const override {
    std::vector<text::TokenId> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string decode(std::span<const text::TokenId> ids, bool) const override {
    std::string text;
    for (const auto id : ids) text += static_cast<char>(id);
    return text;
  }
  std::string token_bytes(text::TokenId id) const override { return std::string(1, static_cast<char>(id)); }
  std::string id_to_token(text::TokenId id) const override { return token_bytes(id); }
  std::optional<text::TokenId> token_to_id(std::string_view) const override { return std::nullopt; }
  int32_t vocab_size() const override { return 256; }
  bool is_special(text::TokenId) const override { return false; }
  std::optional<text::TokenId> bos_id() const override { return std::nullopt; }
  std::optional<text::TokenId> eos_id() const override { return std::nullopt; }
  std::optional<text::TokenId> pad_id() const override { return std::nullopt; }
  const std::string& chat_template() const override { return empty_; }
  std::string fingerprint() const override { return "f"; }
  const std::string& stripped_prefix() const override { return empty_; }

 private:
  std::string empty_;
};

// Keeps the requests; the test plays the engine.
class FakeGenerator : public Generator {
 public:
  int64_t max_model_len() const override { return 100; }
  int64_t vocab_size() const override { return 256; }
  void load_adapter(const std::string&, const std::filesystem::path&, int64_t) override {}
  void unload_adapter(const std::string&) override {}
  int64_t virtual_tokens(const std::string&) const override { return 0; }
  uint64_t submit(runtime::GenerationRequest request) override {
    if (refuse) throw base::Error("NOT_FOUND", "the adapter is gone");
    requests.push_back(std::move(request));
    return requests.size();
  }
  uint64_t submit(runtime::EmbeddingRequest request) override {
    embeddings.push_back(std::move(request));
    return 1000 + embeddings.size();
  }
  int64_t hidden_size() const override { return 2; }
  std::shared_ptr<runtime::TokenConstraint> constrain(runtime::GrammarKind, const std::string&) override {
    return nullptr;
  }
  void cancel(uint64_t id) override { cancelled.push_back(id); }
  runtime::EngineStats stats() const override { return {}; }

  // Says `text` for request `i`; false when told to stop.
  bool say(size_t i, const std::string& text) {
    for (const char c : text) {
      runtime::GeneratedToken token;
      token.id = static_cast<unsigned char>(c);
      token.logprob = -0.5F;
      token.top_logprobs = {{token.id, -0.5F}};
      if (!requests[i].on_token(token)) {
        requests[i].on_finish(runtime::FinishReason::kStop, "");
        return false;
      }
    }
    return true;
  }

  std::vector<runtime::GenerationRequest> requests;
  std::vector<runtime::EmbeddingRequest> embeddings;
  std::vector<uint64_t> cancelled;
  bool refuse = false;
};

class FakeExchange : public Exchange {
 public:
  const HttpRequest& request() const override { return request_; }
  void respond(HttpResponse response) override {
    ++answers;
    answer = std::move(response);
  }
  void begin_stream(const std::string&) override { ++answers; }
  void write(std::string data) override { stream.push_back(std::move(data)); }
  void end_stream() override { ended = true; }
  void on_abandoned(std::function<void(Abandoned)> callback) override { abandon = std::move(callback); }
  void defer(std::function<void()> work) override { work(); }
  void note(AccessNotes notes) override { noted = std::move(notes); }

  // The parsed "data:" lines.
  std::vector<nlohmann::json> events() const {
    std::vector<nlohmann::json> result;
    for (const std::string& piece : stream) {
      EXPECT_TRUE(piece.starts_with("data: ") && piece.ends_with("\n\n")) << piece;
      if (piece != kStreamDone) result.push_back(nlohmann::json::parse(piece.substr(6)));
    }
    return result;
  }
  std::string streamed_text() const {
    std::string text;
    for (const nlohmann::json& event : events()) {
      if (!event["choices"].empty()) text += event["choices"][0]["delta"].value("content", "");
    }
    return text;
  }

  HttpResponse answer;
  AccessNotes noted;
  std::vector<std::string> stream;
  std::function<void(Abandoned)> abandon;
  int answers = 0;
  bool ended = false;

 private:
  HttpRequest request_;
};

}  // namespace slipway::serve
