#include "agents/engine/model/container.h"

#include <gtest/gtest.h>

#include <fstream>

#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::model {
namespace {

class ContainerTest : public testing::Test {
 protected:
  ContainerTest() {
    for (size_t i = 0; i < numbers_.size(); ++i) numbers_[i] = static_cast<float>(i) / 3;
    for (size_t i = 0; i < bytes_.size(); ++i) bytes_[i] = static_cast<std::byte>(i * 7);
    content_.weights = "int8";
    content_.method = "rounded";
    content_.source = "model.gguf";
    content_.tensors["norm"] = {"f32", {70}, std::as_bytes(std::span(numbers_))};
    content_.tensors["matrix"] = {"int8", {16, 60}, bytes_};
    content_.files["config.json"] = "{\"model_type\": \"llama\"}";
    content_.files["empty"] = "";
    write_container(path_, content_);
  }
  std::string read() const { return base::read_file(path_); }
  void write(const std::string& text) const { std::ofstream(path_, std::ios::binary) << text; }
  // What opening the file and reading all of it says.
  std::string failure() const {
    try {
      const Container container(path_);
      for (const std::string& name : container.names()) container.verify(name);
      for (const char* name : {"config.json", "empty"}) container.file(name);
      return "";
    } catch (const base::Error& error) {
      return error.code() + " " + error.what();
    }
  }

  base::TemporaryFolder folder_;
  std::filesystem::path path_ = folder_.path() / "m.slipway";
  std::vector<float> numbers_ = std::vector<float>(70);
  std::vector<std::byte> bytes_ = std::vector<std::byte>(1337);
  ContainerContent content_;
};

TEST_F(ContainerTest, HoldsWhatWasWrittenOnWholeLines) {
  const Container container(path_);
  EXPECT_TRUE(is_container(path_));
  EXPECT_EQ(container.weights(), "int8");
  EXPECT_EQ(container.method(), "rounded");
  EXPECT_EQ(container.names(), (std::vector<std::string>{"matrix", "norm"}));
  for (const auto& [name, tensor] : content_.tensors) {
    const PackedTensor& got = container.tensor(name);
    EXPECT_EQ(got.format, tensor.format);
    EXPECT_EQ(got.shape, tensor.shape);
    EXPECT_TRUE(std::equal(got.data.begin(), got.data.end(), tensor.data.begin(), tensor.data.end()));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(got.data.data()) % 64, 0U);
    container.verify(name);
  }
  EXPECT_EQ(container.file("config.json"), content_.files["config.json"]);
  EXPECT_EQ(container.file("empty"), "");
  EXPECT_EQ(container.file("none"), std::nullopt);
  EXPECT_THROW(container.tensor("none"), base::Error);
}

TEST_F(ContainerTest, WritingTheSameGivesTheSameFileAndLeavesNothingElse) {
  const std::string first = read();
  write_container(path_, content_);
  EXPECT_EQ(read(), first);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_.path()), {}), 1);
}

TEST_F(ContainerTest, ANewerVersionIsNotRead) {
  std::string text = read();
  text[8] = static_cast<char>(kContainerVersion + 1);
  write(text);
  EXPECT_NE(failure().find("UNSUPPORTED " + path_.string() + ": the file is of version 3"), std::string::npos);
}

TEST_F(ContainerTest, AnOlderVersionIsReadUnlessItHoldsFourBits) {
  const auto as_version_one = [&] {
    std::string text = read();
    text[8] = 1;
    write(text);
  };
  as_version_one();
  EXPECT_EQ(failure(), "");
  content_.weights = "int4";
  write_container(path_, content_);
  EXPECT_EQ(failure(), "");
  as_version_one();
  EXPECT_NE(failure().find("UNSUPPORTED " + path_.string() + ": the file is of version 1"), std::string::npos);
}

TEST_F(ContainerTest, AnyFlippedByteThatMattersIsNoticed) {
  const std::string whole = read();
  const Container container(path_);
  const auto offset = [&](const void* at) {
    // Where the data of a part lies within the file.
    return static_cast<size_t>(whole.find(std::string(static_cast<const char*>(at), 60)));
  };
  const size_t matrix = offset(container.tensor("matrix").data.data());
  for (size_t at = 0; at < whole.size(); at += at < 100 ? 1 : 7) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    write(damaged);
    const std::string said = failure();
    const bool in_matrix = at >= matrix && at < matrix + bytes_.size();
    if (in_matrix) {
      EXPECT_NE(said.find("tensor matrix is damaged: its hash is"), std::string::npos) << at;
    }
    // Only what fills up a line may change unseen, and the reserved word.
    EXPECT_TRUE(!said.empty() || whole[at] == 0) << at;
  }
}

TEST_F(ContainerTest, ATruncatedFileNamesWhatIsMissing) {
  const std::string whole = read();
  for (const size_t size : {size_t{0}, size_t{7}, size_t{31}, size_t{40}, whole.size() / 2, whole.size() - 64}) {
    write(whole.substr(0, size));
    EXPECT_TRUE(failure().starts_with("INVALID_MODEL " + path_.string())) << size << failure();
  }
}

TEST_F(ContainerTest, AFolderThatCannotBeWrittenIsNamed) {
  try {
    write_container(folder_.path() / "no" / "m.slipway", content_);
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_NE(std::string(error.what()).find("m.slipway"), std::string::npos);
  }
}

}  // namespace
}  // namespace slipway::model
