#include "agents/engine/model/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backend/base/error.h"
#include "tests/unit/model/gguf_builder.h"

namespace slipway::model {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

GgufBuilder small_file() {
  GgufBuilder builder;
  builder.header(2, 5);
  builder.string_key("general.architecture", "llama");
  builder.uint_key("llama.block_count", 2);
  builder.float_key("llama.rope.freq_base", 10000.0F);
  builder.text("names").number<uint32_t>(9).number<uint32_t>(8).number<uint64_t>(3).text("a").text("").text("ccc");
  builder.text("numbers")
      .number<uint32_t>(9)
      .number<uint32_t>(5)
      .number<uint64_t>(2)
      .number<int32_t>(-7)
      .number<int32_t>(9);
  builder.tensor("one", {4, 2}, 0, 0).tensor("two", {32, 2}, 8, 32).align().bytes(32 + 2 * 34);
  return builder;
}

// The code and message of opening these bytes; empty when they open.
std::string failure(std::span<const std::byte> bytes) {
  try {
    const GgufFile file(bytes, "broken.gguf");
    return "";
  } catch (const base::Error& error) {
    return error.code() + " " + error.what();
  }
}

TEST(Gguf, ReadsValuesArraysAndTensors) {
  const GgufBuilder builder = small_file();
  const GgufFile file(builder.span(), "small.gguf");
  EXPECT_EQ(file.version(), 3U);
  EXPECT_EQ(file.get_string("general.architecture"), "llama");
  EXPECT_EQ(file.get_int("llama.block_count"), 2);
  EXPECT_EQ(file.get_float("llama.rope.freq_base"), 10000.0);
  EXPECT_THAT(file.get_strings("names"), ElementsAre("a", "", "ccc"));
  EXPECT_THAT(file.get_ints("numbers"), ElementsAre(-7, 9));
  EXPECT_FALSE(file.find_int("missing").has_value());
  ASSERT_EQ(file.tensors().size(), 2U);
  EXPECT_EQ(file.find_tensor("two")->data.size(), 68U);
  EXPECT_EQ(file.find_tensor("three"), nullptr);
}

TEST(Gguf, NamesFileAndKeyOfAMissingOrMistypedValue) {
  const GgufBuilder builder = small_file();
  const GgufFile file(builder.span(), "small.gguf");
  try {
    file.get_int("general.architecture");
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.code(), base::kInvalidModel);
    EXPECT_THAT(error.what(), HasSubstr("small.gguf: the key 'general.architecture' is of type string"));
  }
  EXPECT_THROW(file.get_string("missing"), base::Error);
  EXPECT_THROW(file.get_strings("numbers"), base::Error);
  EXPECT_THROW(file.get_ints("names"), base::Error);
}

TEST(Gguf, EveryTruncationIsAnInvalidModel) {
  const std::string whole = small_file().data();
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THAT(failure(std::as_bytes(std::span(whole.data(), size))), testing::StartsWith("INVALID_MODEL")) << size;
  }
}

TEST(Gguf, EveryFlippedByteOpensOrIsRefused) {
  const std::string whole = small_file().data();
  for (size_t i = 0; i < whole.size(); ++i) {
    for (const char flip : {'\x01', '\x80', '\xff'}) {
      std::string changed = whole;
      changed[i] = static_cast<char>(changed[i] ^ flip);
      failure(std::as_bytes(std::span(changed)));
    }
  }
}

TEST(Gguf, RefusesWrongMagicAndVersions) {
  std::string data = small_file().data();
  data[0] = 'X';
  EXPECT_THAT(failure(std::as_bytes(std::span(data))), HasSubstr("does not begin with 'GGUF'"));
  EXPECT_THAT(failure(GgufBuilder().header(0, 0, 1).span()), HasSubstr("UNSUPPORTED broken.gguf has GGUF version 1"));
  EXPECT_THAT(failure(GgufBuilder().header(0, 0, 0x03000000).span()), HasSubstr("big-endian"));
}

TEST(Gguf, RefusesAbsurdCountsAndSizes) {
  const uint64_t absurd = uint64_t{1} << 60U;
  EXPECT_THAT(failure(GgufBuilder().header(absurd, 0).bytes(64).span()), HasSubstr("tensors"));
  EXPECT_THAT(failure(GgufBuilder().header(0, absurd).bytes(64).span()), HasSubstr("keys"));
  GgufBuilder strings;
  strings.header(0, 1).text("tokens").number<uint32_t>(9).number<uint32_t>(8).number(absurd).bytes(64);
  EXPECT_THAT(failure(strings.span()), HasSubstr("'tokens' claims 1152921504606846976 strings"));
  GgufBuilder numbers;
  numbers.header(0, 1).text("scores").number<uint32_t>(9).number<uint32_t>(6).number(absurd).bytes(64);
  EXPECT_THAT(failure(numbers.span()), HasSubstr("'scores'"));
  GgufBuilder text;
  text.header(0, 1).text("name").number<uint32_t>(8).number(~uint64_t{0}).bytes(64);
  EXPECT_THAT(failure(text.span()), HasSubstr("'name'"));
}

TEST(Gguf, RefusesTensorsThatDoNotFit) {
  const auto one = [](const std::vector<uint64_t>& dimensions, uint32_t type, uint64_t offset) {
    GgufBuilder builder;
    builder.header(1, 0).tensor("weight", dimensions, type, offset).align().bytes(256);
    return failure(builder.span());
  };
  EXPECT_EQ(one({8, 8}, 0, 0), "");
  EXPECT_THAT(one({8, 9}, 0, 0), HasSubstr("'weight' needs 288 bytes"));
  EXPECT_THAT(one({8, 8}, 0, 32), HasSubstr("'weight' needs 256 bytes"));
  EXPECT_THAT(one({uint64_t{1} << 32U, uint64_t{1} << 32U}, 0, 0), HasSubstr("too large"));
  EXPECT_THAT(one({~uint64_t{0}}, 0, 0), HasSubstr("dimension"));
  EXPECT_THAT(one({1, 1, 1, 1, 1}, 0, 0), HasSubstr("5 dimensions"));
  EXPECT_THAT(one({31}, 8, 0), HasSubstr("multiple of 32"));
  EXPECT_THAT(one({8}, 0, 1), HasSubstr("multiple of 32 expected"));
  EXPECT_THAT(one({8}, 0, ~uint64_t{31}), HasSubstr("'weight'"));
  EXPECT_THAT(one({8}, 99, 0), HasSubstr("UNSUPPORTED broken.gguf: tensor 'weight' has the GGML type 99"));
}

TEST(Gguf, RefusesDuplicatesAndNestedArrays) {
  EXPECT_THAT(failure(GgufBuilder().header(0, 2).uint_key("a", 1).uint_key("a", 2).span()),
              HasSubstr("'a' is there twice"));
  GgufBuilder tensors;
  tensors.header(2, 0).tensor("w", {8}, 0, 0).tensor("w", {8}, 0, 0).align().bytes(64);
  EXPECT_THAT(failure(tensors.span()), HasSubstr("'w' is there twice"));
  GgufBuilder nested;
  nested.header(0, 1).text("a").number<uint32_t>(9).number<uint32_t>(9).number<uint64_t>(1).bytes(64);
  EXPECT_THAT(failure(nested.span()), HasSubstr("array of arrays"));
}

}  // namespace
}  // namespace slipway::model
