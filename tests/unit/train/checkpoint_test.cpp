#include "agents/engine/train/checkpoints/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <fstream>

#include "agents/engine/train/checkpoints/tensor_stream.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::train {
namespace {

namespace fs = std::filesystem;
constexpr char kParameters[] = "adapter_model.safetensors";

class Checkpoints : public testing::Test {
 protected:
  CheckpointStore store(int64_t keep_last = 0) {
    return {folder_.path() / "checkpoints", keep_last, [this](const std::string& text) { warnings_.push_back(text); }};
  }
  std::string save(CheckpointStore& store, int64_t step) {
    values_.assign(1000, static_cast<float>(step));
    CheckpointContent content;
    content.step = step;
    content.parameter_file = kParameters;
    content.parameters = {{"a", {10, 100}}};
    content.optimizer = {{"exp_avg.a", {10, 100}}};
    content.state = {{"step", step}, {"tokens", step * 7}};
    TensorStream stream({{bytes()}, {bytes()}});
    return store.save(content, [&](std::span<std::byte> piece) { stream.read(piece); });
  }
  std::span<const std::byte> bytes() const { return std::as_bytes(std::span(values_)); }
  fs::path file(int64_t step, const std::string& name) {
    return folder_.path() / "checkpoints" / ("step-" + std::to_string(step)) / name;
  }

  base::TemporaryFolder folder_;
  std::vector<std::string> warnings_;
  std::vector<float> values_;
};

TEST_F(Checkpoints, ComeBackAsTheyWereSaved) {
  CheckpointStore checkpoints = store();
  save(checkpoints, 3);
  const std::string sha256 = save(checkpoints, 12);
  const auto loaded = store().load_latest(kParameters);
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->step, 12);
  EXPECT_EQ(loaded->sha256, sha256);
  EXPECT_EQ(loaded->state.at("tokens"), 84);
  std::vector<float> values(1000);
  loaded->optimizer->read_f32("exp_avg.a", values);
  EXPECT_THAT(values, testing::Each(12.0F));
  EXPECT_THAT(warnings_, testing::IsEmpty());
}

TEST_F(Checkpoints, NoneAreThereAtFirst) { EXPECT_FALSE(store().load_latest(kParameters)); }

TEST_F(Checkpoints, OnlyTheNewestAreKept) {
  CheckpointStore checkpoints = store(2);
  for (const int64_t step : {5, 10, 15, 20}) save(checkpoints, step);
  EXPECT_THAT(checkpoints.committed_steps(), testing::ElementsAre(15, 20));
  EXPECT_FALSE(fs::exists(file(10, "")));
}

TEST_F(Checkpoints, DamagedOnesOfLaterStepsReplaceNoneThatIsWhole) {
  CheckpointStore checkpoints = store(1);
  save(checkpoints, 9);
  fs::resize_file(file(9, kParameters), 8);
  EXPECT_FALSE(store(1).load_latest(kParameters));
  save(checkpoints, 3);
  EXPECT_EQ(store(1).load_latest(kParameters)->step, 3);
  save(checkpoints, 6);
  EXPECT_EQ(store(1).load_latest(kParameters)->step, 6);
  EXPECT_FALSE(fs::exists(file(3, "")));
}

TEST_F(Checkpoints, AnyFlippedByteOfAnyFileIsNoticed) {
  CheckpointStore checkpoints = store();
  save(checkpoints, 1);
  save(checkpoints, 2);
  for (const char* name : {kParameters, "optimizer.safetensors", "trainer_state.json", "manifest.json", "COMMIT"}) {
    const std::string content = base::read_file(file(2, name));
    for (const size_t at : {size_t{0}, content.size() / 2, content.size() - 2}) {
      std::string changed = content;
      changed[at] = static_cast<char>(changed[at] ^ 1);
      std::ofstream(file(2, name), std::ios::binary) << changed;
      warnings_.clear();
      const auto loaded = store().load_latest(kParameters);
      ASSERT_TRUE(loaded);
      EXPECT_EQ(loaded->step, 1) << name << " at " << at;
      ASSERT_EQ(warnings_.size(), 1U);
      EXPECT_THAT(warnings_[0], testing::HasSubstr("step-2"));
    }
    std::ofstream(file(2, name), std::ios::binary) << content;
  }
  EXPECT_EQ(store().load_latest(kParameters)->step, 2);
}

TEST_F(Checkpoints, CutFilesAndMissingOnesAreNoticed) {
  CheckpointStore checkpoints = store();
  save(checkpoints, 1);
  for (const char* name : {kParameters, "optimizer.safetensors", "trainer_state.json", "manifest.json", "COMMIT"}) {
    save(checkpoints, 2);
    fs::resize_file(file(2, name), fs::file_size(file(2, name)) / 2);
    EXPECT_EQ(store().load_latest(kParameters)->step, 1) << name;
    fs::remove(file(2, name));
    EXPECT_EQ(store().load_latest(kParameters)->step, 1) << name;
  }
}

TEST_F(Checkpoints, WhatACrashLeftHalfWrittenIsRemoved) {
  const fs::path leftover = folder_.path() / "checkpoints" / ".writing-4";
  fs::create_directories(leftover);
  std::ofstream(leftover / kParameters) << "half";
  const CheckpointStore checkpoints = store();
  EXPECT_FALSE(fs::exists(leftover));
  EXPECT_FALSE(checkpoints.load_latest(kParameters));
}

TEST_F(Checkpoints, ASaveThatFailsAtAnyFileLeavesTheEarlierOnesAlone) {
  CheckpointStore checkpoints = store(1);
  save(checkpoints, 1);
  rlimit old_limit{};
  getrlimit(RLIMIT_FSIZE, &old_limit);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  // Nothing fits; the beginning of the tensors alone; one block of them.
  for (const rlim_t bytes : {0, 100, 4096}) {
    const rlimit limit{bytes, old_limit.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
    EXPECT_THROW(save(checkpoints, 2), base::Error);
    setrlimit(RLIMIT_FSIZE, &old_limit);
    EXPECT_THAT(checkpoints.committed_steps(), testing::ElementsAre(1));
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path() / "checkpoints"), {}), 1);
    EXPECT_EQ(store().load_latest(kParameters)->step, 1);
  }
  std::signal(SIGXFSZ, old_handler);
}

}  // namespace
}  // namespace slipway::train
