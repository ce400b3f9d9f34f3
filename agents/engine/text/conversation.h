// Conversations as training data: token ids and which of them the assistant wrote. Used by prep and train.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "agents/engine/text/tokenizer.h"

namespace slipway::text {

struct TokenizedConversation {
  std::vector<TokenId> ids;
  std::vector<uint8_t> assistant_mask;  // as long as ids: 1 where the assistant's reply and its end-of-turn token are
};

// Keeps the parsed template, for many conversations. The tokenizer must outlive it. Any thread.
class ConversationTokenizer {
 public:
  // Throws base::Error UNSUPPORTED when the tokenizer has no chat template.
  explicit ConversationTokenizer(const Tokenizer& tokenizer);
  ~ConversationTokenizer();
  ConversationTokenizer(ConversationTokenizer&&) noexcept;

  // Ids as apply_chat_template gives them, and the mask as its return_assistant_tokens_mask does (TRL's
  // assistant_only_loss). Where the template marks nothing with {% generation %}, an assistant's turn is what its
  // message adds to the prompt for it; where a template writes earlier turns differently once later ones follow, the
  // reply is searched for in the whole text. Throws base::Error: INVALID_DATA naming the message that cannot be
  // located, CHAT_TEMPLATE from the template.
  TokenizedConversation tokenize(const nlohmann::ordered_json& messages,
                                 const nlohmann::ordered_json& tools = nullptr) const;

  // The ids alone, which no template is too odd for. Throws base::Error as tokenize().
  std::vector<TokenId> ids(const nlohmann::ordered_json& messages, const nlohmann::ordered_json& tools = nullptr) const;

 private:
  struct State;
  std::unique_ptr<const State> state_;
};

}  // namespace slipway::text
