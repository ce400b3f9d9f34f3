#include "agents/engine/train/samples.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "agents/engine/text/chat_template.h"
#include "backend/base/error.h"

namespace slipway::train {

namespace {

std::vector<int64_t> prompt_tokens(const text::Tokenizer& tokenizer, const std::string& prompt) {
  const bool chat = !tokenizer.chat_template().empty();
  const nlohmann::ordered_json messages = {{{"role", "user"}, {"content", prompt}}};
  const std::vector<text::TokenId> ids =
      chat ? tokenizer.encode(text::render_chat(tokenizer, messages, true), false) : tokenizer.encode(prompt, true);
  return {ids.begin(), ids.end()};
}

bool is_end(const Decoder& decoder, const text::Tokenizer& tokenizer, int64_t token) {
  const std::vector<int32_t>& ends = decoder.architecture().eos_token_ids;
  return tokenizer.eos_id() == static_cast<text::TokenId>(token) ||
         std::find(ends.begin(), ends.end(), static_cast<int32_t>(token)) != ends.end();
}

}  // namespace

Samples::Samples(std::filesystem::path file, const text::Tokenizer& tokenizer, std::vector<std::string> prompts,
                 int64_t max_new_tokens, bool writes)
    : file_(std::move(file)),
      tokenizer_(tokenizer),
      prompts_(std::move(prompts)),
      max_new_tokens_(max_new_tokens),
      writes_(writes) {
  std::ifstream stream(file_);
  for (std::string line; std::getline(stream, line);) {
    const nlohmann::json sample = nlohmann::json::parse(line, nullptr, false);
    if (sample.is_object()) last_step_ = std::max(last_step_, sample.value("step", int64_t{-1}));
  }
}

void Samples::take(Decoder& decoder, int64_t step, const std::function<bool()>& pause) {
  if (prompts_.empty() || step <= last_step_) return;
  std::string lines;
  for (const std::string& prompt : prompts_) {
    std::vector<int64_t> tokens = prompt_tokens(tokenizer_, prompt);
    const auto begin = static_cast<std::ptrdiff_t>(tokens.size());
    const int64_t most = std::min(begin + max_new_tokens_,
                                  decoder.architecture().max_position_embeddings - decoder.virtual_token_count());
    while (static_cast<int64_t>(tokens.size()) < most) {
      if (!pause()) return;
      const std::vector<float> logits = decoder.logits(tokens, 1);
      const int64_t next = std::max_element(logits.begin(), logits.end()) - logits.begin();
      if (is_end(decoder, tokenizer_, next)) break;
      tokens.push_back(next);
    }
    const std::vector<text::TokenId> answer(tokens.begin() + begin, tokens.end());
    const nlohmann::ordered_json line = {{"step", step}, {"prompt", prompt}, {"text", tokenizer_.decode(answer, true)}};
    lines += line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  }
  last_step_ = step;
  if (!writes_) return;
  std::ofstream stream(file_, std::ios::app | std::ios::binary);
  stream << lines << std::flush;
  if (!stream) throw base::Error(base::kIo, "cannot write " + file_.string(), "make room, or choose another workdir");
}

}  // namespace slipway::train
