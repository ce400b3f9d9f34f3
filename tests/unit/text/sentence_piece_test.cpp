// Unigram models and SentencePiece files made here: the best cut, unknown characters, damaged files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "agents/engine/text/definition.h"
#include "agents/engine/text/precompiled.h"
#include "backend/base/error.h"

namespace slipway::text {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using json = nlohmann::json;

json unigram(json vocabulary) {
  return {{"model", {{"type", "Unigram"}, {"unk_id", 0}, {"vocab", std::move(vocabulary)}}}};
}

std::unique_ptr<const Tokenizer> make(const json& root) {
  return make_tokenizer(parse_tokenizer_json(root.dump(), "tokenizer.json"));
}

TEST(Unigram, TakesTheCutWithTheBestSum) {
  const auto tokenizer = make(unigram(
      json::parse(R"([["<unk>", 0], ["a", -2], ["b", -2], ["ab", -3], ["abc", -9], ["c", -2], ["bc", -2.5]])")));
  EXPECT_THAT(tokenizer->encode("ab", false), ElementsAre(3));
  EXPECT_THAT(tokenizer->encode("abc", false), ElementsAre(1, 6));
}

TEST(Unigram, UnknownCharactersSideBySideAreOneToken) {
  const auto tokenizer = make(unigram(json::parse(R"([["<unk>", 0], ["a", -2]])")));
  EXPECT_THAT(tokenizer->encode("xyazz", false), ElementsAre(0, 1, 0));
}

TEST(Unigram, RefusesScoresThatAreMissing) {
  try {
    make(unigram(json::parse(R"([["<unk>", 0], ["a"]])")));
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("tokenizer.json: model.vocab[1]"));
  }
}

// A .model of pieces with scores and types.
std::string model_file(const std::vector<std::tuple<std::string, float, int>>& pieces, int model_type) {
  std::string file;
  const auto field = [](std::string& out, int number, const std::string& bytes) {
    out += static_cast<char>(number << 3 | 2);
    out += static_cast<char>(bytes.size());
    out += bytes;
  };
  for (const auto& [text, score, type] : pieces) {
    std::string piece;
    field(piece, 1, text);
    piece += static_cast<char>(2 << 3 | 5);
    char bytes[4];
    std::memcpy(bytes, &score, 4);
    piece.append(bytes, 4);
    piece += static_cast<char>(3 << 3);
    piece += static_cast<char>(type);
    field(file, 1, piece);
  }
  field(file, 2, {static_cast<char>(3 << 3), static_cast<char>(model_type)});
  field(file, 3, {static_cast<char>(4 << 3), 0});
  return file;
}

const std::vector<std::tuple<std::string, float, int>> kPieces = {
    {"<unk>", 0, 2},          {"<s>", 0, 3}, {"</s>", 0, 3}, {"\xE2\x96\x81", -5, 1},
    {"\xE2\x96\x81h", -1, 1}, {"h", -3, 1},  {"i", -3, 1},   {"\xE2\x96\x81hi", -2, 1}};

TEST(SentencePiece, ReadsBpeAndPutsTheBeginningOfTextIn) {
  const auto tokenizer = make_tokenizer(parse_sentence_piece(model_file(kPieces, 2), "tokenizer.model"));
  EXPECT_THAT(tokenizer->encode("hi", true), ElementsAre(1, 7));
  EXPECT_THAT(tokenizer->encode("hi hi", false), ElementsAre(7, 7));
  EXPECT_EQ(tokenizer->decode(std::vector<TokenId>{7, 7}, true), "hi hi");
  EXPECT_EQ(tokenizer->eos_id(), 2);
}

TEST(SentencePiece, EveryTruncationIsRefusedOrRead) {
  const std::string whole = model_file(kPieces, 1);
  EXPECT_THAT(make_tokenizer(parse_sentence_piece(whole, "tokenizer.model"))->encode("hi", false), ElementsAre(7));
  for (size_t size = 0; size < whole.size(); ++size) {
    try {
      make_tokenizer(parse_sentence_piece(std::string_view(whole).substr(0, size), "tokenizer.model"));
    } catch (const base::Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("tokenizer.model: "));
    }
  }
  EXPECT_THROW(parse_sentence_piece(model_file(kPieces, 3), "tokenizer.model"), base::Error);
}

TEST(Precompiled, RefusesTablesThatDoNotFit) {
  EXPECT_EQ(Precompiled("", "charsmap").apply("é"), "é");
  for (const std::string& table :
       {std::string("\x04\0\0", 3), std::string("\xFF\0\0\0....", 8), std::string("\x02\0\0\0..", 6)})
    EXPECT_THROW(Precompiled(table, "charsmap"), base::Error);
  EXPECT_EQ(from_base64(to_base64("any\x01 bytes\xFF"), "text"), "any\x01 bytes\xFF");
}

}  // namespace
}  // namespace slipway::text
