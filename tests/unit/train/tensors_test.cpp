// The trainer's tensor work against closed forms and libtorch's own autograd.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>

#include "agents/engine/train/adapted_linear.h"
#include "agents/engine/train/output_loss.h"
#include "agents/engine/train/parameters.h"
#include "agents/engine/train/parity.h"
#include "agents/engine/train/tensor_ops.h"
#include "backend/base/error.h"

namespace slipway::train {
namespace {

void expect_close(const at::Tensor& ours, const at::Tensor& theirs, double tolerance = 1e-5) {
  ASSERT_EQ(ours.sizes(), theirs.sizes());
  const double scale = std::max(1e-6, theirs.abs().max().item<double>());
  EXPECT_LE((ours - theirs).abs().max().item<double>() / scale, tolerance);
}

at::Tensor random(at::IntArrayRef shape) { return at::randn(shape); }

TEST(AdamW, FollowsItsClosedFormForAConstantGradient) {
  Parameters parameters;
  parameters.add("decayed", {1, 1}, true);
  parameters.add("kept", {1, 1}, false);
  parameters.allocate(at::kCPU, true);
  parameters.values.fill_(1.0);
  parameters.gradients.fill_(0.5);
  // Both moments' corrections cancel: every step is lr · g / (|g| + eps).
  double decayed = 1.0, kept = 1.0;
  for (int64_t step = 1; step <= 3; ++step) {
    adamw_step(parameters, {0.1, 0.9, 0.999, 1e-8, 0.2}, step);
    decayed = decayed * (1 - 0.1 * 0.2) - 0.1;
    kept -= 0.1;
    EXPECT_NEAR(parameters.value(0).item<double>(), decayed, 1e-6);
    EXPECT_NEAR(parameters.value(1).item<double>(), kept, 1e-6);
  }
}

TEST(Clipping, ScalesAllGradientsToTheNormAndReportsTheOldOne) {
  Parameters parameters;
  parameters.add("a", {2, 1}, true);
  parameters.add("b", {1, 1}, true);
  parameters.allocate(at::kCPU, true);
  const auto fill = [&] { parameters.gradients.copy_(at::tensor({2.0F, 3.0F, 6.0F})); };
  fill();
  EXPECT_NEAR(clip_gradients(parameters, 1.0), 7.0, 1e-6);
  EXPECT_NEAR(parameters.gradients.norm().item<double>(), 1.0, 1e-5);
  fill();
  EXPECT_NEAR(clip_gradients(parameters, 0.0), 7.0, 1e-6);
  EXPECT_NEAR(parameters.gradients.norm().item<double>(), 7.0, 1e-6);
}

TEST(RmsNorm, GradientsAreThoseOfAutograd) {
  at::Tensor x = random({5, 16}), weight = random({16});
  const at::Tensor dy = random({5, 16});
  at::Tensor inverse_rms;
  const at::Tensor y = rms_norm(x, weight, 1e-5, at::kFloat, inverse_rms);
  at::Tensor dx = at::zeros_like(x), dweight = at::zeros_like(weight);
  rms_norm_backward(dy, x, weight, inverse_rms, dx, dweight);

  x.requires_grad_();
  weight.requires_grad_();
  const at::Tensor reference = x * at::rsqrt(x.square().mean(-1, true) + 1e-5) * weight;
  reference.backward(dy);
  expect_close(y, reference.detach());
  expect_close(dx, x.grad());
  expect_close(dweight, weight.grad());
}

TEST(Rotation, BackwardIsTheInverse) {
  const at::Tensor heads = random({3, 2, 8}), angle = random({3, 1, 4});
  at::Tensor turned = heads.clone();
  rotate(turned, angle.cos(), angle.sin());
  EXPECT_FALSE(at::allclose(turned, heads));
  rotate(turned, angle.cos(), angle.sin().neg());
  expect_close(turned, heads);
}

TEST(OutputLoss, IsThatOfTheWholeLogitsAtOnce) {
  at::Tensor hidden = random({40, 8}), weight = random({300000, 8});  // several blocks of rows
  const at::Tensor targets = at::randint(300000, {40}, at::kLong);
  at::Tensor dhidden, dweight = at::zeros_like(weight);
  const double loss = output_loss(hidden, weight, targets, 0.25, &dhidden, dweight);
  EXPECT_DOUBLE_EQ(output_loss(hidden, weight, targets, 0.25, nullptr, {}), loss);

  hidden.requires_grad_();
  weight.requires_grad_();
  const at::Tensor reference = -at::log_softmax(at::linear(hidden, weight), -1).gather(1, targets.unsqueeze(1)).sum();
  (reference * 0.25).backward();
  EXPECT_NEAR(loss / reference.item<double>(), 1.0, 1e-6);
  expect_close(dhidden, hidden.grad());
  expect_close(dweight, weight.grad());
}

TEST(AdaptedLinear, GradientsAreThoseOfAutogradAndTheWeightHasNone) {
  Parameters parameters;
  LinearPart q{"q", 6, true, 0, 0}, k{"k", 4, false, 0, 0}, v{"v", 4, true, 0, 0};
  q.lora_a = parameters.add("q.A", {2, 8}, true);
  v.lora_a = parameters.add("v.A", {2, 8}, true);
  q.lora_b = parameters.add("q.B", {6, 2}, true);
  v.lora_b = parameters.add("v.B", {4, 2}, true);
  parameters.allocate(at::kCPU, true);
  parameters.values.copy_(random({parameters.element_count()}));
  const at::Tensor weight = random({14, 8});
  AdaptedLinear layer({q, k, v}, weight, {}, {2, 1.5, 0.0}, std::nullopt);
  layer.refresh(parameters);
  at::Tensor x = random({5, 8}), hidden;
  const at::Tensor dy = random({5, 14});
  const at::Tensor y = layer.forward(x, hidden, 0);
  const at::Tensor dx = layer.backward(x, hidden, dy, 0, true, parameters);

  std::vector<at::Tensor> leaves;
  for (size_t i = 0; i < 4; ++i) leaves.push_back(parameters.value(i).clone().requires_grad_());
  x.requires_grad_();
  const at::Tensor delta_q = at::linear(at::linear(x, leaves[0]), leaves[2]) * 1.5;
  const at::Tensor delta_v = at::linear(at::linear(x, leaves[1]), leaves[3]) * 1.5;
  const at::Tensor reference = at::linear(x, weight) + at::cat({delta_q, at::zeros({5, 4}), delta_v}, 1);
  reference.backward(dy);
  expect_close(y, reference.detach());
  expect_close(dx, x.grad());
  for (size_t i = 0; i < 4; ++i) expect_close(parameters.gradient(i), leaves[i].grad());
}

TEST(AdaptedLinear, DropoutKeepsTheMeanAndItsGradientUsesTheSameMask) {
  Parameters parameters;
  LinearPart part{"q", 3, true, 0, 0};
  part.lora_a = parameters.add("A", {2, 64}, true);
  part.lora_b = parameters.add("B", {3, 2}, true);
  parameters.allocate(at::kCPU, true);
  parameters.values.copy_(random({parameters.element_count()}));
  AdaptedLinear layer({part}, at::zeros({3, 64}), {}, {2, 1.0, 0.5}, std::nullopt);
  layer.refresh(parameters);
  at::Tensor x = random({4, 64}), hidden;
  const at::Tensor y = layer.forward(x, hidden, 99), dy = random({4, 3});
  EXPECT_TRUE(at::equal(layer.forward(x, hidden, 99), y));
  EXPECT_FALSE(at::allclose(layer.forward(x, hidden, 100), y));
  layer.forward(x, hidden, 99);
  const at::Tensor dx = layer.backward(x, hidden, dy, 99, true, parameters);
  const at::Tensor mask = dropout_mask({4, 64}, 0.5, 99, at::kCPU);
  expect_close(dx, dy.mm(parameters.value(1)).mm(parameters.value(0)) * mask);
  EXPECT_NEAR(dropout_mask({1000, 100}, 0.3, 5, at::kCPU).mean().item<double>(), 1.0, 0.01);
}

TEST(Parity, ADifferenceBeyondTheTolerancePublishesNothing) {
  require_parity(1e-5, false, "the adapter");
  require_parity(1e-2, true, "the merged model");
  EXPECT_THROW(require_parity(1e-3, false, "the adapter"), base::Error);
  EXPECT_THROW(require_parity(HUGE_VAL, true, "the merged model"), base::Error);
}

TEST(Parity, PromptsAreBeginningsOfDocumentsSpreadOverTheSet) {
  Documents documents;
  for (int32_t i = 0; i < 10; ++i) documents.add(std::vector<int32_t>{i, 90, 91}, std::vector<uint8_t>{1, 1, 1});
  const std::vector<std::vector<int64_t>> expected{{0, 90}, {3, 90}, {6, 90}};
  EXPECT_EQ(parity_prompts(documents, 3, 2), expected);
  EXPECT_EQ(parity_prompts(documents, 30, 2).size(), 10U);
}

}  // namespace
}  // namespace slipway::train
