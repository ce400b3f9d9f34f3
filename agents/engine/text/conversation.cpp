// Finds the assistant's part of a conversation, see conversation.h.
#include "agents/engine/text/conversation.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "agents/engine/text/chat_template.h"
#include "agents/engine/text/jinja/strings.h"
#include "backend/base/error.h"

namespace slipway::text {

namespace {

using json = nlohmann::ordered_json;

struct Span {
  size_t begin;
  size_t end;
  bool exact;  // the template marked it; others end with the end-of-turn token
};

// Stands for a reply while its place is searched for. Private-use characters, so that no text has it by chance.
constexpr char kStandIn[] = "\xEE\x80\x80slipway-reply\xEE\x80\x81";

bool starts_with(const std::string& text, const std::string& prefix) {
  return text.compare(0, prefix.size(), prefix) == 0;
}

bool is_blank(std::string_view text) { return jinja::strip(text).empty(); }

// What each token of the vocabulary stands for, side by side: a conversation asks for all of its tokens.
class Spellings {
 public:
  explicit Spellings(const Tokenizer& tokenizer) {
    for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
      bytes_ += tokenizer.token_bytes(id);
      ends_.push_back(bytes_.size());
      special_.push_back(tokenizer.is_special(id));
    }
  }

  std::string_view bytes(TokenId id) const {
    const auto index = static_cast<size_t>(id);
    return std::string_view(bytes_).substr(ends_[index], ends_[index + 1] - ends_[index]);
  }
  bool is_special(TokenId id) const { return special_[static_cast<size_t>(id)]; }
  bool is_blank_text(TokenId id) const { return !is_special(id) && is_blank(bytes(id)); }

 private:
  std::string bytes_;
  std::vector<size_t> ends_ = {0};
  std::vector<bool> special_;
};

// Whether add_generation_prompt changes anything: only then a prompt ends where a reply begins. Nothing where the
// template refuses a conversation of one question.
std::optional<bool> asks_for_replies(const Tokenizer& tokenizer, const ChatTemplate& chat_template) {
  const json question = json::array({{{"role", "user"}, {"content", "?"}}});
  try {
    return chat_template.render(chat_variables(tokenizer, question, true)) !=
           chat_template.render(chat_variables(tokenizer, question, false));
  } catch (const base::Error&) {
    return std::nullopt;
  }
}

class Locator {
 public:
  // asks: what asks_for_replies() said of the template.
  Locator(const Tokenizer& tokenizer, const ChatTemplate& chat_template, std::optional<bool> asks, const json& messages,
          const json& tools)
      : tokenizer_(tokenizer), template_(chat_template), asks_(asks), messages_(messages), tools_(tools) {}

  std::vector<Span> locate(std::string& text) {
    std::vector<Span> spans;
    if (template_.marks_generation()) {
      RenderedChat rendered = template_.render_marked(chat_variables(tokenizer_, messages_, false, tools_));
      text = std::move(rendered.text);
      for (const auto& [begin, end] : rendered.generated) spans.push_back({begin, end, true});
      if (!spans.empty()) return spans;  // blocks within macros leave no trace
    } else {
      text = render(messages_, false);
    }
    prompts_ = asks_ ? *asks_ : asks_for_replies();
    for (size_t index = 0; index < messages_.size(); ++index) {
      if (role_of(index) != "assistant") continue;
      // Several messages of one turn (a tool call and the next) are each looked for on their own.
      auto span = prompts_ ? by_prefix(text, index) : by_stand_in(text, index);
      if (!span) span = prompts_ ? by_stand_in(text, index) : by_prefix(text, index);
      if (!span) {
        throw base::Error(
            base::kInvalidData,
            "message " + std::to_string(index) +
                ": the reply cannot be located in what the chat template makes of the conversation",
            "mark the reply in the template with {% generation %} and {% endgeneration %}, or train on all tokens");
      }
      if (!spans.empty() && span->begin < spans.back().end) span->begin = spans.back().end;
      if (span->begin < span->end) spans.push_back(*span);
    }
    return spans;
  }

 private:
  std::string render(const json& messages, bool add_generation_prompt) const {
    return template_.render(chat_variables(tokenizer_, messages, add_generation_prompt, tools_));
  }

  // The same for this conversation: of its beginnings, the first that the template does not refuse says it.
  bool asks_for_replies() const {
    for (size_t count = 1; count <= messages_.size(); ++count) {
      if (count < messages_.size() && role_of(count) != "assistant") continue;
      try {
        return render(first_messages(count), true) != render(first_messages(count), false);
      } catch (const base::Error&) {
        continue;
      }
    }
    return false;
  }

  std::string role_of(size_t index) const {
    const auto role = messages_[index].find("role");
    return role != messages_[index].end() && role->is_string() ? role->get<std::string>() : "";
  }

  json first_messages(size_t count) const {
    return json(messages_.begin(), messages_.begin() + static_cast<std::ptrdiff_t>(count));
  }

  // What message `index` adds to the prompt that asks for it.
  std::optional<Span> by_prefix(const std::string& text, size_t index) const {
    try {
      const std::string before = render(first_messages(index), true);
      const std::string through = index + 1 == messages_.size() ? text : render(first_messages(index + 1), false);
      if (through.size() < before.size() || !starts_with(through, before) || !starts_with(text, through))
        return std::nullopt;
      return Span{before.size(), through.size(), false};
    } catch (const base::Error&) {
      return std::nullopt;  // some templates refuse conversations that end here
    }
  }

  // Where a stand-in for the message's content turns up in the whole text.
  std::optional<Span> by_stand_in(const std::string& text, size_t index) const {
    const auto content = messages_[index].find("content");
    if (content == messages_[index].end() || !content->is_string()) return std::nullopt;
    const auto calls = messages_[index].find("tool_calls");
    if (calls != messages_[index].end() && !calls->empty()) return std::nullopt;  // the calls belong to the reply too
    json changed = messages_;
    changed[index]["content"] = kStandIn;
    try {
      const std::string other = render(changed, false);
      const size_t begin = other.find(kStandIn);
      if (begin == std::string::npos || other.find(kStandIn, begin + 1) != std::string::npos) return std::nullopt;
      const std::string suffix = other.substr(begin + sizeof(kStandIn) - 1);
      const bool same_before = text.compare(0, begin, other, 0, begin) == 0;
      if (!same_before || text.size() < begin + suffix.size() ||
          text.compare(text.size() - suffix.size(), suffix.size(), suffix) != 0) {
        return std::nullopt;
      }
      return Span{begin, text.size() - suffix.size(), false};
    } catch (const base::Error&) {
      return std::nullopt;
    }
  }

  const Tokenizer& tokenizer_;
  const ChatTemplate& template_;
  std::optional<bool> asks_;
  const json& messages_;
  const json& tools_;
  bool prompts_ = true;
};

// The byte ranges of the tokens in the text; nothing when they cannot be followed (a normalizer changed the text).
std::optional<std::vector<std::pair<size_t, size_t>>> align(const Spellings& spellings, bool puts_space,
                                                            const std::string& text, const std::vector<TokenId>& ids) {
  std::vector<std::pair<size_t, size_t>> out;
  out.reserve(ids.size());
  size_t position = 0;
  bool behind_special = true;
  for (const TokenId id : ids) {
    const std::string_view bytes = spellings.bytes(id);
    std::string_view spelled = bytes;
    size_t begin = position;
    const auto matches = [&] { return text.compare(begin, spelled.size(), spelled) == 0; };
    // A special token may have swallowed white space around it, and SentencePiece may have put a space where there is
    // none.
    while (!matches() && begin < text.size()) {
      if (puts_space && behind_special && !spelled.empty() && spelled[0] == ' ' && spelled.size() == bytes.size()) {
        spelled.remove_prefix(1);
        if (matches()) break;
        spelled = bytes;
      }
      if (!is_blank(std::string_view(text).substr(begin, 1))) return std::nullopt;
      ++begin;
    }
    if (!matches()) return std::nullopt;
    out.emplace_back(begin, begin + spelled.size());
    position = begin + spelled.size();
    behind_special = spellings.is_special(id);
  }
  if (!is_blank(std::string_view(text).substr(position))) return std::nullopt;
  return out;
}

// The same where tokens do not spell the text: encoded part by part, each token of a part gets the part's whole range.
// Nothing when the parts do not give the same ids as the whole.
std::optional<std::vector<std::pair<size_t, size_t>>> align_by_parts(const Tokenizer& tokenizer,
                                                                     const std::string& text,
                                                                     const std::vector<TokenId>& ids,
                                                                     const std::vector<Span>& spans) {
  std::vector<size_t> cuts = {0};
  for (const Span& span : spans) {
    cuts.push_back(span.begin);
    cuts.push_back(span.end);
  }
  cuts.push_back(text.size());
  std::vector<std::pair<size_t, size_t>> out;
  std::vector<TokenId> joined;
  for (size_t index = 0; index + 1 < cuts.size(); ++index) {
    const auto part =
        tokenizer.encode(std::string_view(text).substr(cuts[index], cuts[index + 1] - cuts[index]), false);
    joined.insert(joined.end(), part.begin(), part.end());
    out.insert(out.end(), part.size(), {cuts[index], cuts[index + 1]});
  }
  if (joined != ids) return std::nullopt;
  return out;
}

// An unmarked turn ends with its end-of-turn token: what follows it is not the assistant's.
void trim_turn(const Spellings& spellings, const std::vector<TokenId>& ids, size_t first, size_t& last) {
  size_t end = last;
  while (end > first && spellings.is_blank_text(ids[end - 1])) --end;
  if (end > first && spellings.is_special(ids[end - 1])) last = end;
}

// A reply that was found by its content: the end-of-turn token right behind it belongs to it.
void extend_turn(const Spellings& spellings, const std::vector<TokenId>& ids, size_t first, size_t& last) {
  if (last > first && spellings.is_special(ids[last - 1])) return;
  size_t end = last;
  while (end < ids.size() && spellings.is_blank_text(ids[end])) ++end;
  if (end < ids.size() && spellings.is_special(ids[end])) last = end + 1;
}

void check_messages(const json& messages) {
  if (!messages.is_array()) throw base::Error(base::kInvalidData, "messages must be a list");
  for (size_t index = 0; index < messages.size(); ++index) {
    if (!messages[index].is_object())
      throw base::Error(base::kInvalidData, "message " + std::to_string(index) + " must be an object");
  }
}

}  // namespace

struct ConversationTokenizer::State {
  explicit State(const Tokenizer& its_tokenizer)
      : tokenizer(its_tokenizer),
        chat_template(template_of(tokenizer)),
        asks(asks_for_replies(tokenizer, chat_template)) {}

  // Made when a mask is first asked for: ids alone need none.
  const Spellings& spellings() const {
    std::call_once(once, [this] { made.emplace(tokenizer); });
    return *made;
  }

  const Tokenizer& tokenizer;
  ChatTemplate chat_template;
  std::optional<bool> asks;
  mutable std::once_flag once;
  mutable std::optional<Spellings> made;
};

ConversationTokenizer::ConversationTokenizer(const Tokenizer& tokenizer)
    : state_(std::make_unique<const State>(tokenizer)) {}
ConversationTokenizer::~ConversationTokenizer() = default;
ConversationTokenizer::ConversationTokenizer(ConversationTokenizer&&) noexcept = default;

std::vector<TokenId> ConversationTokenizer::ids(const nlohmann::ordered_json& messages,
                                                const nlohmann::ordered_json& tools) const {
  check_messages(messages);
  return state_->tokenizer.encode(
      state_->chat_template.render(chat_variables(state_->tokenizer, messages, false, tools)), false);
}

TokenizedConversation ConversationTokenizer::tokenize(const nlohmann::ordered_json& messages,
                                                      const nlohmann::ordered_json& tools) const {
  check_messages(messages);
  const Tokenizer& tokenizer = state_->tokenizer;
  std::string text;
  const std::vector<Span> spans = Locator(tokenizer, state_->chat_template, state_->asks, messages, tools).locate(text);

  TokenizedConversation out;
  out.ids = tokenizer.encode(text, false);
  out.assistant_mask.assign(out.ids.size(), 0);
  auto ranges = align(state_->spellings(), !tokenizer.stripped_prefix().empty(), text, out.ids);
  if (!ranges) ranges = align_by_parts(tokenizer, text, out.ids, spans);
  if (!ranges) {
    throw base::Error(
        base::kInvalidData,
        "the conversation's tokens cannot be followed in its text: the vocabulary normalizes what it reads",
        "bring the data into Unicode normal form C first, or train on all tokens");
  }
  for (const Span& span : spans) {
    const auto overlaps_from = std::partition_point(ranges->begin(), ranges->end(),
                                                    [&](const auto& range) { return range.second <= span.begin; });
    const auto behind =
        std::partition_point(overlaps_from, ranges->end(), [&](const auto& range) { return range.first < span.end; });
    const auto first = static_cast<size_t>(overlaps_from - ranges->begin());
    auto last = static_cast<size_t>(behind - ranges->begin());
    if (!span.exact) {
      trim_turn(state_->spellings(), out.ids, first, last);
      extend_turn(state_->spellings(), out.ids, first, last);
    }
    std::fill(out.assistant_mask.begin() + static_cast<std::ptrdiff_t>(first),
              out.assistant_mask.begin() + static_cast<std::ptrdiff_t>(last), 1);
  }
  return out;
}

}  // namespace slipway::text
