// SentencePiece's own .model files, see definition.h: a protocol buffer, read by hand.
// Format: https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto
#include <bit>
#include <cstring>

#include "agents/engine/text/definition.h"
#include "agents/engine/text/sentence_piece.h"
#include "agents/engine/text/unicode.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::text {

namespace {

constexpr size_t kMaxFileBytes = size_t{64} << 20U;

enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

struct Field {
  uint32_t number = 0;
  uint32_t wire_type = 0;
  uint64_t value = 0;      // of numbers
  std::string_view bytes;  // of texts and messages
};

// The fields of one message, one after the other.
class Message {
 public:
  Message(std::string_view bytes, const std::string& origin) : bytes_(bytes), origin_(origin) {}

  bool next(Field& field) {
    if (position_ >= bytes_.size()) return false;
    const uint64_t tag = varint();
    field = {};
    field.number = static_cast<uint32_t>(tag >> 3U);
    field.wire_type = static_cast<uint32_t>(tag & 7U);
    switch (field.wire_type) {
      case kVarint:
        field.value = varint();
        return true;
      case kFixed64:
        field.bytes = take(8);
        return true;
      case kBytes:
        field.bytes = take(varint());
        return true;
      case kFixed32:
        field.bytes = take(4);
        return true;
      default:
        fail("a field has the unknown wire type " + std::to_string(field.wire_type));
    }
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw base::Error(base::kInvalidModel, origin_ + ": " + what,
                      "the file is damaged or is no SentencePiece model; download it again");
  }

 private:
  uint64_t varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (position_ >= bytes_.size()) fail("the file ends within a number");
      const auto byte = static_cast<unsigned char>(bytes_[position_++]);
      value |= static_cast<uint64_t>(byte & 0x7fU) << shift;
      if (byte < 0x80) return value;
    }
    fail("a number is longer than 64 bits");
  }

  std::string_view take(uint64_t size) {
    if (size > bytes_.size() - position_) {
      fail("a field claims " + std::to_string(size) + " bytes, but only " + std::to_string(bytes_.size() - position_) +
           " are left");
    }
    position_ += static_cast<size_t>(size);
    return bytes_.substr(position_ - static_cast<size_t>(size), static_cast<size_t>(size));
  }

  std::string_view bytes_;
  const std::string& origin_;
  size_t position_ = 0;
};

class Reader {
 public:
  Reader(std::string_view content, const std::string& origin) : content_(content) {
    out_.origin = origin;
    options_.unigram = true;  // what holds when the file does not say
  }

  TokenizerDefinition read() {
    Message message(content_, out_.origin);
    for (Field field; message.next(field);) {
      if (field.wire_type != kBytes) continue;
      if (field.number == 1) read_piece(field.bytes);
      if (field.number == 2) read_trainer(field.bytes);
      if (field.number == 3) read_normalizer(field.bytes);
    }
    if (out_.tokens.empty()) message.fail("it holds no pieces");
    add_special_pieces(out_, types_);
    describe_sentence_piece(out_, types_, scores_, options_, true);
    for (const auto& [key, id] : {std::pair{"bos_token", bos_}, {"eos_token", eos_}, {"pad_token", pad_}}) {
      if (id >= 0 && static_cast<size_t>(id) < out_.tokens.size() && !out_.tokens[static_cast<size_t>(id)].empty())
        out_.special_tokens[key] = out_.tokens[static_cast<size_t>(id)];
    }
    if (out_.bpe.unk_token) out_.special_tokens["unk_token"] = *out_.bpe.unk_token;
    const auto begin = out_.special_tokens.contains("bos_token") ? static_cast<TokenId>(bos_) : -1;
    out_.post_processor = begin_and_end(out_, begin, -1);  // as Llama's tokenizer, whose files these mostly are
    return std::move(out_);
  }

 private:
  void read_piece(std::string_view bytes) {
    Message message(bytes, out_.origin);
    std::string_view text;
    double score = 0;
    int64_t type = kNormal;
    for (Field field; message.next(field);) {
      if (field.number == 1 && field.wire_type == kBytes) text = field.bytes;
      if (field.number == 2 && field.wire_type == kFixed32) {
        float value = 0;
        std::memcpy(&value, field.bytes.data(), 4);
        score = static_cast<double>(value);
      }
      if (field.number == 3 && field.wire_type == kVarint) type = static_cast<int64_t>(field.value);
    }
    const std::string where = "piece " + std::to_string(out_.tokens.size());
    if (out_.tokens.size() >= static_cast<size_t>(kMaxTokens)) message.fail("it holds too many pieces");
    if (text.empty() || !is_valid_utf8(text)) message.fail(where + " is no UTF-8 text");
    if (type < kNormal || type > kByte) message.fail(where + " has the unknown type " + std::to_string(type));
    out_.tokens.emplace_back(text);
    scores_.push_back(score);
    types_.push_back(type);
  }

  void read_trainer(std::string_view bytes) {
    Message message(bytes, out_.origin);
    for (Field field; message.next(field);) {
      if (field.wire_type != kVarint) continue;
      if (field.number == 3) {
        if (field.value != 1 && field.value != 2) {
          throw base::Error(base::kUnsupported,
                            out_.origin + ": trainer_spec.model_type is " + std::to_string(field.value),
                            "known: 1 (unigram), 2 (BPE)");
        }
        options_.unigram = field.value == 1;
      }
      if (field.number == 24 && field.value != 0) {
        throw base::Error(base::kUnsupported, out_.origin + ": trainer_spec.treat_whitespace_as_suffix is set",
                          "known: models whose spaces stand before words");
      }
      const auto id = static_cast<int64_t>(field.value);
      if (field.number == 41) bos_ = id;
      if (field.number == 42) eos_ = id;
      if (field.number == 43) pad_ = id;
    }
  }

  void read_normalizer(std::string_view bytes) {
    options_.remove_extra_whitespaces = true;  // what holds when the file does not say
    Message message(bytes, out_.origin);
    for (Field field; message.next(field);) {
      if (field.number == 2 && field.wire_type == kBytes) options_.charsmap = field.bytes;
      if (field.number == 3 && field.wire_type == kVarint) options_.add_dummy_prefix = field.value != 0;
      if (field.number == 4 && field.wire_type == kVarint) options_.remove_extra_whitespaces = field.value != 0;
      if (field.number == 5 && field.wire_type == kVarint && field.value == 0) {
        throw base::Error(base::kUnsupported, out_.origin + ": normalizer_spec.escape_whitespaces is off",
                          "known: models that write spaces as U+2581");
      }
    }
  }

  std::string_view content_;
  TokenizerDefinition out_;
  std::vector<int64_t> types_;
  std::vector<double> scores_;
  SentencePieceOptions options_;
  int64_t bos_ = 1, eos_ = 2, pad_ = -1;
};

}  // namespace

TokenizerDefinition parse_sentence_piece(std::string_view content, const std::string& origin) {
  return Reader(content, origin).read();
}

TokenizerDefinition read_sentence_piece(const std::filesystem::path& path) {
  TokenizerDefinition out = parse_sentence_piece(base::read_file(path, kMaxFileBytes), path.string());
  read_config_files(path.parent_path(), out);
  return out;
}

}  // namespace slipway::text
