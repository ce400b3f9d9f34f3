// The optimizers against closed forms; tests/oracle/train/test_optimizers.py compares whole runs with the reference
// implementations.
#include "agents/engine/train/optimizers/optimizer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "agents/engine/train/optimizers/dynamic_8bit.h"

namespace slipway::train {
namespace {

Parameters parameters_of(int64_t decayed, int64_t kept) {
  Parameters parameters;
  Parameter first, second;
  first.name = "decayed";
  first.shape = {decayed, 1};
  second.name = "kept";
  second.shape = {kept};
  second.decayed = false;
  second.lr_scale = 2.0;
  parameters.add(first);
  parameters.add(second);
  parameters.allocate(at::kCPU, true);
  return parameters;
}

TEST(AdamW, FollowsItsClosedFormForAConstantGradient) {
  Parameters parameters = parameters_of(1, 1);
  parameters.values.fill_(1.0);
  parameters.gradients.fill_(0.5);
  const auto optimizer = make_optimizer({OptimizerType::kAdamW, 0.9, 0.999, 1e-8, 0.2}, parameters);
  // Both moments' corrections cancel: every step is lr · g / (|g| + eps).
  double decayed = 1.0, kept = 1.0;
  for (int64_t step = 1; step <= 3; ++step) {
    optimizer->step(parameters, 0.1, step);
    decayed = decayed * (1 - 0.1 * 0.2) - 0.1;
    kept -= 0.2;  // twice the learning rate
    EXPECT_NEAR(parameters.value(0).item<double>(), decayed, 1e-6);
    EXPECT_NEAR(parameters.value(1).item<double>(), kept, 1e-6);
  }
}

TEST(AdamW, InEightBitsStaysNearItself) {
  Parameters exact = parameters_of(6000, 10), compact = parameters_of(6000, 10);
  const auto whole = make_optimizer({OptimizerType::kAdamW, 0.9, 0.999, 1e-8, 0.0}, exact);
  const auto eight = make_optimizer({OptimizerType::kAdamW8Bit, 0.9, 0.999, 1e-8, 0.0}, compact);
  for (int64_t step = 1; step <= 10; ++step) {
    const at::Tensor gradient = at::randn({exact.element_count()});
    exact.gradients.copy_(gradient);
    compact.gradients.copy_(gradient);
    whole->step(exact, 0.01, step);
    eight->step(compact, 0.01, step);
  }
  const at::Tensor difference = exact.values - compact.values;
  EXPECT_LT(difference.norm().item<double>(), 0.05 * exact.values.norm().item<double>());
  EXPECT_TRUE(at::equal(exact.value(1), compact.value(1))) << "small parameters stay in f32";
  int64_t bytes = 0;
  for (const StateTensor& tensor : eight->state()) bytes += static_cast<int64_t>(tensor.tensor.nbytes());
  EXPECT_LT(bytes, 6144 * 2 + 24 * 8 + 100);
}

TEST(Dynamic8Bit, TheCodeIsBitsandbytesOwn) {
  const std::vector<float>& values = dynamic_values(true);
  ASSERT_EQ(values.size(), 256U);
  EXPECT_EQ(values.back(), 1.0F);
  EXPECT_NEAR(values.front(), -0.992969, 1e-6);
  EXPECT_EQ(values[static_cast<size_t>(signed_zero_code())], 0.0F);
  ASSERT_EQ(dynamic_values(false).size(), 256U);
  EXPECT_EQ(dynamic_values(false).front(), 0.0F);
  const at::Tensor x = at::randn({512});
  const at::Tensor codes = at::empty({512}, at::kByte), scales = at::empty({2}), back = at::empty({512});
  write_dynamic(true, x, codes, scales);
  read_dynamic(true, codes, scales, back);
  EXPECT_LT((x - back).abs().max().item<float>(), 0.008F * x.abs().max().item<float>());
}

TEST(Lion, MovesEachElementByTheLearningRate) {
  Parameters parameters = parameters_of(4, 4);
  parameters.gradients.copy_(at::tensor({1.0F, -2.0F, 3.0F, -4.0F, 1.0F, 1.0F, -1.0F, 0.0F}));
  make_optimizer({OptimizerType::kLion, 0.9, 0.99, 1e-8, 0.0}, parameters)->step(parameters, 0.5, 1);
  EXPECT_TRUE(at::equal(parameters.values, at::tensor({-0.5F, 0.5F, -0.5F, 0.5F, -1.0F, -1.0F, 1.0F, 0.0F})));
}

}  // namespace
}  // namespace slipway::train
