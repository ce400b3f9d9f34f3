#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "agents/engine/train/checkpoints/run_state.h"
#include "backend/base/files.h"

namespace slipway::train {
namespace {

constexpr char kParameters[] = "model.safetensors";
constexpr int64_t kRows = 700, kColumns = 1500;  // several pieces, none of them whole

struct Trained {
  at::Tensor values = at::randn({kRows * kColumns + 3}), moments = at::randn({kRows * kColumns + 3}),
             codes = at::randint(256, {12345}, at::kByte), best = at::randn({kRows * kColumns + 3});

  Snapshot snapshot(int64_t step) const {
    Snapshot result;
    result.content.step = step;
    result.content.parameter_file = kParameters;
    result.content.parameters = {{"weight", {kRows, kColumns}}, {"bias", {3}}};
    result.content.optimizer = {{"exp_avg", {kRows * kColumns + 3}},
                                {"codes", {12345}, model::DType::kU8},
                                {"best_values", {kRows * kColumns + 3}}};
    result.content.state = {{"step", step}};
    result.parts = {{values, true}, {moments, true}, {codes, true}, {best, false}};
    return result;
  }
  void change() const {
    values.zero_();
    moments.neg_();
    codes.zero_();
  }
};

void expect_same(const model::Weights& weights, const std::string& name, const at::Tensor& expected) {
  const model::TensorView view = weights.get(name);
  ASSERT_EQ(view.data.size(), expected.nbytes()) << name;
  EXPECT_EQ(std::memcmp(view.data.data(), expected.data_ptr(), view.data.size()), 0) << name;
}

TEST(CheckpointWriter, SavesWhatTheTensorsHeldWhenItWasStarted) {
  const base::TemporaryFolder folder;
  const std::filesystem::path checkpoints = folder.path() / "checkpoints";
  CheckpointStore store(checkpoints, 0, [](const std::string&) {});
  CheckpointWriter writer(store);
  for (int64_t step = 1; step <= 4; ++step) {
    const Trained trained;
    const at::Tensor values = trained.values.clone(), moments = trained.moments.clone(), codes = trained.codes.clone();
    writer.start(trained.snapshot(step));
    writer.before_change();
    trained.change();
    writer.before_change();
    trained.change();
    const auto written = writer.collect(true);
    ASSERT_TRUE(written);
    EXPECT_EQ(written->step, step);
    const auto loaded = store.load_latest(kParameters);
    ASSERT_TRUE(loaded);
    EXPECT_EQ(loaded->sha256, written->sha256);
    expect_same(*loaded->parameters, "weight", values.narrow(0, 0, kRows * kColumns));
    expect_same(*loaded->parameters, "bias", values.narrow(0, kRows * kColumns, 3));
    expect_same(*loaded->optimizer, "exp_avg", moments);
    expect_same(*loaded->optimizer, "codes", codes);
    expect_same(*loaded->optimizer, "best_values", trained.best);
  }
}

TEST(CheckpointWriter, WithNothingUnderWayHasNothingToCopyOrTell) {
  const base::TemporaryFolder folder;
  CheckpointStore store(folder.path(), 0, [](const std::string&) {});
  CheckpointWriter writer(store);
  writer.before_change();
  EXPECT_FALSE(writer.collect(true));
}

}  // namespace
}  // namespace slipway::train
