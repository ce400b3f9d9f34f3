// The text library behind one JSON object per line, for the python oracles: {"op":"load","path":...} and so on. Answers
// one line each: {"ok":...} or {"error":code,"message":...}.
#include <algorithm>
#include <chrono>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "agents/engine/text/chat_template.h"
#include "agents/engine/text/conversation.h"
#include "agents/engine/text/gguf_vocabulary.h"
#include "agents/engine/text/tokenizer.h"
#include "backend/base/error.h"

namespace {

using json = nlohmann::ordered_json;
using slipway::text::TokenId;

class Tool {
 public:
  json run(const json& request) {
    const std::string op = request.at("op");
    if (op == "load") {
      tokenizer_ = slipway::text::load_tokenizer(request.at("path").get<std::string>());
      return {{"vocab_size", tokenizer_->vocab_size()},       {"bos", id_or_null(tokenizer_->bos_id())},
              {"eos", id_or_null(tokenizer_->eos_id())},      {"pad", id_or_null(tokenizer_->pad_id())},
              {"chat_template", tokenizer_->chat_template()}, {"fingerprint", tokenizer_->fingerprint()}};
    }
    if (op == "encode") {
      return tokenizer_->encode(request.at("text").get<std::string>(), request.value("add_special", false),
                                request.value("parse_special", true));
    }
    if (op == "measure") {  // seconds of the best of several encodings
      const std::string text = request.at("text");
      double best = 1e9;
      for (int round = 0; round < request.at("rounds").get<int>(); ++round) {
        const auto begin = std::chrono::steady_clock::now();
        tokenizer_->encode(text, false);
        best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
      }
      return best;
    }
    if (op == "decode")
      return tokenizer_->decode(request.at("ids").get<std::vector<TokenId>>(), request.value("skip_special", false));
    if (op == "stream") {
      slipway::text::StreamDecoder decoder(*tokenizer_, request.value("skip_special", false));
      json pieces = json::array();
      for (const TokenId id : request.at("ids").get<std::vector<TokenId>>()) pieces.push_back(decoder.push(id));
      pieces.push_back(decoder.flush());
      return pieces;
    }
    if (op == "save") {
      slipway::text::save_tokenizer(*tokenizer_, request.at("path").get<std::string>(),
                                    request.value("model_max_length", 0));
      return true;
    }
    if (op == "save_gguf") {  // the vocabulary alone, as llama.cpp ships its own
      slipway::model::GgufWriter writer;
      writer.text("general.architecture", "llama");
      slipway::text::put_vocabulary(writer, *tokenizer_, tokenizer_->vocab_size(), {});
      writer.write(request.at("path").get<std::string>());
      return true;
    }
    if (op == "render")
      return slipway::text::ChatTemplate(request.at("template").get<std::string>()).render(request.at("variables"));
    if (op == "render_chat") {
      return slipway::text::render_chat(*tokenizer_, request.at("messages"), request.at("add_generation_prompt"),
                                        request.value("tools", json()));
    }
    if (op == "conversation") {
      const auto out = slipway::text::ConversationTokenizer(*tokenizer_)
                           .tokenize(request.at("messages"), request.value("tools", json()));
      return {{"ids", out.ids}, {"mask", out.assistant_mask}};
    }
    throw slipway::base::Error("UNKNOWN_OP", op);
  }

 private:
  static json id_or_null(std::optional<TokenId> id) { return id ? json(*id) : json(); }
  std::unique_ptr<const slipway::text::Tokenizer> tokenizer_;
};

}  // namespace

int main() {
  Tool tool;
  std::string line;
  while (std::getline(std::cin, line)) {
    json answer;
    try {
      answer = {{"ok", tool.run(json::parse(line))}};
    } catch (const slipway::base::Error& error) {
      answer = {{"error", error.code()}, {"message", error.what()}, {"advice", error.advice()}};
    } catch (const std::exception& error) {
      answer = {{"error", "EXCEPTION"}, {"message", error.what()}};
    }
    std::cout << answer.dump() << std::endl;
  }
}
