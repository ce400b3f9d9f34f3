// Tokens to whole characters, see tokenizer.h.
#include "agents/engine/text/tokenizer.h"
#include "agents/engine/text/unicode.h"

namespace slipway::text {

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(tokenizer), skip_special_(skip_special) {}

std::string StreamDecoder::push(TokenId id) {
  std::string bytes = tokenizer_.token_bytes(id);
  if (skip_special_ && tokenizer_.is_special(id)) return "";
  if (at_start_ && !bytes.empty()) {
    at_start_ = false;
    const std::string& prefix = tokenizer_.stripped_prefix();
    if (!prefix.empty() && bytes.compare(0, prefix.size(), prefix) == 0) bytes.erase(0, prefix.size());
  }
  pending_ += bytes;
  const size_t ready = pending_.size() - unfinished_tail(pending_);
  std::string out = repair_utf8(std::string_view(pending_).substr(0, ready));
  pending_.erase(0, ready);
  return out;
}

std::string StreamDecoder::flush() {
  std::string out = repair_utf8(pending_);
  pending_.clear();
  return out;
}

}  // namespace slipway::text
