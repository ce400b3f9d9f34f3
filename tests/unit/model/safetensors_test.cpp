#include "agents/engine/model/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "agents/engine/model/weights.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::model {
namespace {

using testing::HasSubstr;

std::string file_with(const std::string& header, size_t data_bytes) {
  std::string bytes(8, '\0');
  const uint64_t size = header.size();
  std::memcpy(bytes.data(), &size, 8);
  return bytes + header + std::string(data_bytes, '\1');
}

std::string failure(const std::string& bytes) {
  try {
    parse_safetensors(std::as_bytes(std::span(bytes)), "broken.safetensors");
    return "";
  } catch (const base::Error& error) {
    return error.code() + " " + error.what();
  }
}

constexpr char kGood[] = R"({"__metadata__":{"format":"pt"},"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}})";

TEST(Safetensors, EveryTruncationIsAnInvalidModel) {
  const std::string whole = file_with(kGood, 24);
  EXPECT_EQ(failure(whole), "");
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THAT(failure(whole.substr(0, size)), testing::StartsWith("INVALID_MODEL")) << size;
  }
}

TEST(Safetensors, EveryFlippedByteOpensOrIsRefused) {
  const std::string whole = file_with(kGood, 24);
  for (size_t i = 0; i < whole.size(); ++i) {
    for (const char flip : {'\x01', '\x80', '\xff'}) {
      std::string changed = whole;
      changed[i] = static_cast<char>(changed[i] ^ flip);
      failure(changed);
    }
  }
}

TEST(Safetensors, RefusesHeadersThatDoNotFit) {
  std::string absurd(16, '\xff');
  EXPECT_THAT(failure(absurd), HasSubstr("the header claims"));
  const auto one = [](const std::string& entry) { return failure(file_with("{\"w\":" + entry + "}", 24)); };
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[2,3],"data_offsets":[0,20]})"), HasSubstr("'w' has 20 bytes"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[2,3],"data_offsets":[8,32]})"), HasSubstr("truncated"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[2,3],"data_offsets":[24,0]})"), HasSubstr("INVALID_MODEL"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,24]})"), HasSubstr("shape"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[-2,-3],"data_offsets":[0,24]})"), HasSubstr("shape"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[2.5],"data_offsets":[0,24]})"), HasSubstr("shape"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[6]})"), HasSubstr("lacks"));
  EXPECT_THAT(one("7"), HasSubstr("lacks"));
  EXPECT_THAT(one(R"({"dtype":"F8_E4M3","shape":[24],"data_offsets":[0,24]})"), HasSubstr("UNSUPPORTED"));
  EXPECT_THAT(failure(file_with("[1]", 0)), HasSubstr("no JSON object"));
  EXPECT_THAT(failure(file_with(std::string(100000, '['), 0)), HasSubstr("nested too deeply"));
}

TEST(Safetensors, WhatIsWrittenReadsBackTheSame) {
  const base::TemporaryFolder folder;
  const std::vector<float> values = {1, -2.5F, 3e-30F, 4, 5, 6};
  const std::vector<int64_t> numbers = {7, -8};
  const auto path = folder.path() / "model.safetensors";
  write_safetensors(path, {{"b", DType::kF32, {2, 3}, std::as_bytes(std::span(values))},
                           {"a", DType::kI64, {2}, std::as_bytes(std::span(numbers))}});
  const auto weights = open_weights(path);
  EXPECT_THAT(weights->names(), testing::ElementsAre("a", "b"));
  std::vector<float> got(6);
  weights->read_f32("b", got);
  EXPECT_EQ(got, values);
  EXPECT_THROW(weights->get("c"), base::Error);
  EXPECT_THROW(weights->read_f32("a", std::span(got).first(2)), base::Error);  // not a weight
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(Safetensors, AFailedWriteLeavesNothing) {
  const base::TemporaryFolder folder;
  const std::vector<float> values(6);
  EXPECT_THROW(write_safetensors(folder.path() / "m", {{"b", DType::kF32, {7}, std::as_bytes(std::span(values))}}),
               base::Error);
  EXPECT_THROW(write_safetensors(folder.path() / "missing" / "m", {}), base::Error);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Safetensors, AShardedIndexCannotLeaveItsFolder) {
  const base::TemporaryFolder folder;
  for (const char* name : {"../other.safetensors", "/etc/passwd", "a/b.safetensors", ""}) {
    std::ofstream(folder.path() / "model.safetensors.index.json") << R"({"weight_map":{"w":")" << name << "\"}}";
    try {
      open_weights(folder.path());
      ADD_FAILURE() << name;
    } catch (const base::Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("weight_map.w is not the name of a .safetensors file"));
    }
  }
}

}  // namespace
}  // namespace slipway::model
