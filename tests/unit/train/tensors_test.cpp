// The trainer's tensor work against closed forms and libtorch's own autograd.
#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <tuple>

#include "agents/engine/train/decoder/adapted_linear.h"
#include "agents/engine/train/decoder/attention.h"
#include "agents/engine/train/decoder/output_loss.h"
#include "agents/engine/train/decoder/parameters.h"
#include "agents/engine/train/decoder/products.h"
#include "agents/engine/train/decoder/tensor_ops.h"
#include "agents/engine/train/publishing/parity.h"
#include "backend/base/error.h"

namespace slipway::train {
namespace {

void expect_close(const at::Tensor& ours, const at::Tensor& theirs, double tolerance = 1e-5) {
  ASSERT_EQ(ours.sizes(), theirs.sizes());
  const double scale = std::max(1e-6, theirs.abs().max().item<double>());
  EXPECT_LE((ours - theirs).abs().max().item<double>() / scale, tolerance);
}

at::Tensor random(at::IntArrayRef shape) { return at::randn(shape); }

size_t add(Parameters& parameters, const char* name, std::vector<int64_t> shape) {
  Parameter parameter;
  parameter.name = name;
  parameter.shape = std::move(shape);
  return parameters.add(std::move(parameter));
}

// Both ways of computing: libtorch's operations, and the kernels of our own where this CPU has them (else the first
// again).
class Both : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override { at::manual_seed(7); }

  Compute compute_ = make_compute(at::kCPU, at::kFloat, GetParam());
};
INSTANTIATE_TEST_SUITE_P(Ways, Both, testing::Bool(),
                         [](const auto& way) { return std::string(way.param ? "libtorch" : "kernels"); });

// In bf16, where the CPU has it, for what differs from f32 in more than rounding.
Compute bf16() { return make_compute(at::kCPU, at::kBFloat16, cpu_kernels_bf16() == nullptr); }

TEST_P(Both, ProductsOfAllShapes) {
  for (const auto& [n, k, m] : {std::tuple{1, 2, 1},
                                {12, 64, 32},
                                {29, 96, 45},
                                {60, 34, 130},
                                {211, 50, 16},
                                {100, 8, 2200},
                                {205, 832, 256},  // from here on large enough for Strassen's algorithm
                                {389, 320, 1600}}) {
    const at::Tensor x = random({n, k}), w = random({m, k}), b = random({m}), left = random({n, 4}),
                     right = random({m, 4});
    const at::Tensor y = at::empty({n, m}, at::kFloat);
    const ProductWeight weight(w), delta(right);
    forward_products(compute_, x, {{&weight, y, b, {left, &delta}}});
    expect_close(y, at::linear(x, w, b) + left.mm(right.t()));
    const at::Tensor sum = at::empty({n, m});
    forward_products(compute_, x, {{&weight, sum, b, {left, &delta}, at::ones({n, m})}});
    expect_close(sum, at::linear(x, w, b) + left.mm(right.t()) + 1);
    const at::Tensor dy = random({n, m}), rows = random({4, k}), dx = at::empty({n, k}), dleft = at::empty({n, 4});
    const ProductWeight delta_rows(rows);
    input_gradients(compute_, {{dy, &weight, dx, {left, &delta_rows}}, {dy, &delta, dleft}});
    expect_close(dx, dy.mm(w) + left.mm(rows));
    expect_close(dleft, dy.mm(right));
    output_gradient(compute_, dy, weight, dx);
    expect_close(dx, dy.mm(w));
    const at::Tensor target = at::ones({m, k});
    add_outer(compute_, target, dy, x, 0.5);
    expect_close(target, dy.t().mm(x) * 0.5 + 1);
  }
}

TEST_P(Both, ProductsReadWhatEarlierOnesOfTheirCallWrite) {
  const int64_t n = 300, k = 64, rank = 16, m = 96;
  const at::Tensor x = random({n, k}), a = random({2 * rank, k}), w = random({m, k}), b = random({m, rank});
  const ProductWeight down(a), weight(w), up(b);
  for (int again = 0; again < 30; ++again) {  // also when another thread comes first
    const at::Tensor hidden = at::full({n, 2 * rank}, std::nan("")), y = at::empty({n, 2 * m});
    const at::Tensor first = hidden.narrow(1, 0, rank), second = hidden.narrow(1, rank, rank);
    forward_products(compute_, x,
                     {{&down, hidden},
                      {&weight, y.narrow(1, 0, m), {}, {first, &up}},
                      {&weight, y.narrow(1, m, m), {}, {second, &up}}});
    const at::Tensor expected = x.mm(a.t());
    expect_close(y.narrow(1, 0, m), at::linear(x, w) + expected.narrow(1, 0, rank).mm(b.t()));
    expect_close(y.narrow(1, m, m), at::linear(x, w) + expected.narrow(1, rank, rank).mm(b.t()));
  }
}

TEST(Products, InBf16SumInF32AlsoForOddSizes) {
  const Compute compute = bf16();
  for (const auto& [n, k, m] : {std::tuple{13, 64, 33}, {29, 96, 45}, {61, 34, 130}, {211, 50, 16}, {100, 8, 2200}}) {
    const at::Tensor x = random({n, k}).to(at::kBFloat16), w = random({m, k}).to(at::kBFloat16);
    const at::Tensor dy = random({n, m}).to(at::kBFloat16);
    const at::Tensor y = at::empty({n, m}, at::kBFloat16);
    const ProductWeight weight(w);
    forward_products(compute, x, {{&weight, y}});
    expect_close(y.to(at::kFloat), at::linear(x.to(at::kFloat), w.to(at::kFloat)), 5e-3);
    const at::Tensor dx = at::empty({n, k}, at::kBFloat16), dwide = at::empty({n, k}, at::kBFloat16);
    input_gradients(compute, {{dy, &weight, dx}});
    expect_close(dx.to(at::kFloat), dy.to(at::kFloat).mm(w.to(at::kFloat)), 5e-3);
    output_gradient(compute, dy, weight, dwide);
    expect_close(dwide.to(at::kFloat), dy.to(at::kFloat).mm(w.to(at::kFloat)), 5e-3);
    const at::Tensor scores = at::empty({n, m}), sum = at::ones({n, m});
    output_scores(compute, x, weight, scores);
    expect_close(scores, at::linear(x.to(at::kFloat), w.to(at::kFloat)), 1e-5);
    forward_products(compute, x, {{&weight, sum, {}, {}, sum}});
    expect_close(sum, at::linear(x.to(at::kFloat), w.to(at::kFloat)) + 1, 5e-3);
    const at::Tensor target = at::zeros({m, k});
    add_outer(compute, target, dy, x, 1.0);
    expect_close(target, dy.to(at::kFloat).t().mm(x.to(at::kFloat)), 5e-3);
  }
}

// An adapter of rank 1, a vocabulary of 50,257: what lies behind the last element must not count.
TEST(Products, OfAnOddLengthInBf16ReadNoFurther) {
  const Compute compute = bf16();
  const auto inside = [](const at::Tensor& values) {
    at::Tensor wide = at::full({values.size(0), values.size(1) + 1}, std::nan(""), at::kBFloat16);
    wide.narrow(1, 0, values.size(1)).copy_(values);
    return wide.narrow(1, 0, values.size(1));
  };
  for (const auto& [n, k, m] : {std::tuple{30, 51, 17}, {100, 1, 45}}) {
    const at::Tensor x = inside(random({n, k})), w = random({m, k}).to(at::kBFloat16), dy = inside(random({n, m}));
    const at::Tensor y = at::empty({n, m}, at::kBFloat16), dx = at::empty({n, k}, at::kBFloat16);
    const ProductWeight weight(w);
    forward_products(compute, x, {{&weight, y}});
    expect_close(y.to(at::kFloat), at::linear(x.to(at::kFloat), w.to(at::kFloat)), 5e-3);
    input_gradients(compute, {{dy, &weight, dx}});
    expect_close(dx.to(at::kFloat), dy.to(at::kFloat).mm(w.to(at::kFloat)), 5e-3);
  }
}

// Attention by its definition, with autograd.
at::Tensor plain_attention(const AttentionOptions& o, const at::Tensor& qkv, const std::vector<int64_t>& starts) {
  std::vector<at::Tensor> parts;
  for (size_t i = 0; i + 1 < starts.size(); ++i) {
    const int64_t length = starts[i + 1] - starts[i];
    const at::Tensor split = qkv.narrow(0, starts[i], length).view({length, -1, o.head_dim}).transpose(0, 1);
    const int64_t group = o.heads / o.kv_heads;
    const at::Tensor q = split.narrow(0, 0, o.heads);
    const at::Tensor k = split.narrow(0, o.heads, o.kv_heads).repeat_interleave(group, 0);
    const at::Tensor v = split.narrow(0, o.heads + o.kv_heads, o.kv_heads).repeat_interleave(group, 0);
    at::Tensor scores = at::matmul(q, k.transpose(1, 2)) * o.scale;
    if (o.softcap > 0) scores = at::tanh(scores / o.softcap) * o.softcap;
    at::Tensor seen = at::tril(at::ones({length, length}, at::kBool));
    if (o.window > 0) seen = seen.logical_and(at::triu(at::ones({length, length}, at::kBool), 1 - o.window));
    scores = scores.masked_fill(seen.logical_not(), -HUGE_VAL);
    parts.push_back(at::matmul(at::softmax(scores, -1), v).transpose(0, 1).reshape({length, -1}));
  }
  return at::cat(parts, 0);
}

TEST_P(Both, AttentionStaysInsideDocumentsWindowsAndCaps) {
  const std::vector<int64_t> starts{0, 1, 70, 173};
  for (const auto& [softcap, window] : {std::pair{0.0, 0}, {0.0, 37}, {5.0, 0}, {5.0, 37}}) {
    const AttentionOptions options{6, 2, 24, 0.3, softcap, window};
    at::Tensor qkv = random({173, 10 * 24});
    const at::Tensor doutput = random({173, 6 * 24});
    AttentionMemory memory;
    const at::Tensor attended = attend(compute_, options, qkv, starts, &memory);
    const at::Tensor dqkv = attend_backward(compute_, options, doutput, starts, memory);
    at::Tensor leaf = qkv.clone().requires_grad_();
    const at::Tensor reference = plain_attention(options, leaf, starts);
    reference.backward(doutput);
    expect_close(attended, reference.detach());
    expect_close(dqkv, leaf.grad(), 2e-5);
  }
}

TEST(Attention, InBf16FollowsItsDefinition) {
  const std::vector<int64_t> starts{0, 3, 120};
  const AttentionOptions options{4, 2, 64, 0.125, 0, 0};
  const at::Tensor qkv = random({120, 8 * 64}).to(at::kBFloat16), doutput = random({120, 4 * 64}).to(at::kBFloat16);
  AttentionMemory memory;
  const at::Tensor attended = attend(bf16(), options, qkv, starts, &memory);
  const at::Tensor dqkv = attend_backward(bf16(), options, doutput, starts, memory);
  at::Tensor leaf = qkv.to(at::kFloat).requires_grad_();
  const at::Tensor reference = plain_attention(options, leaf, starts);
  reference.backward(doutput.to(at::kFloat));
  expect_close(attended.to(at::kFloat), reference.detach(), 2e-2);
  expect_close(dqkv.to(at::kFloat), leaf.grad(), 2e-2);
}

TEST_P(Both, GatedActivationsAndTheirGradients) {
  for (const auto activation : {model::Activation::kSilu, model::Activation::kGelu, model::Activation::kGeluTanh}) {
    const at::Tensor gate_up = random({7, 90}) * 3, dy = random({7, 45});
    const at::Tensor y = gated(compute_, activation, gate_up), dx = gated_backward(compute_, activation, dy, gate_up);
    at::Tensor leaf = gate_up.clone().requires_grad_();
    const at::Tensor reference = activated(activation, leaf.narrow(1, 0, 45)) * leaf.narrow(1, 45, 45);
    reference.backward(dy);
    expect_close(y, reference.detach());
    expect_close(dx, leaf.grad());
  }
}

TEST(Clipping, ScalesAllGradientsToTheNorm) {
  Parameters parameters;
  add(parameters, "a", {2, 1});
  add(parameters, "b", {1, 1});
  parameters.allocate(at::kCPU, true);
  const auto fill = [&] { parameters.gradients.copy_(at::tensor({2.0F, 3.0F, 6.0F})); };
  fill();
  EXPECT_NEAR(std::sqrt(squared_norm(parameters)), 7.0, 1e-6);
  clip_gradients(parameters, 7.0, 1.0);
  EXPECT_NEAR(parameters.gradients.norm().item<double>(), 1.0, 1e-5);
  fill();
  clip_gradients(parameters, 7.0, 0.0);
  EXPECT_NEAR(parameters.gradients.norm().item<double>(), 7.0, 1e-6);
}

TEST_P(Both, RmsNormsGradientsAreThoseOfAutograd) {
  at::Tensor x = random({5, 16}), weight = random({16});
  const at::Tensor dy = random({5, 16});
  at::Tensor inverse_rms;
  const at::Tensor y = rms_norm(compute_, x, weight, 1e-5, inverse_rms);
  at::Tensor dx = at::zeros_like(x), dweight = at::zeros_like(weight);
  rms_norm_backward(compute_, dy, x, weight, inverse_rms, dx, dweight);

  x.requires_grad_();
  weight.requires_grad_();
  const at::Tensor reference = x * at::rsqrt(x.square().mean(-1, true) + 1e-5) * weight;
  reference.backward(dy);
  expect_close(y, reference.detach());
  expect_close(dx, x.grad());
  expect_close(dweight, weight.grad());
}

TEST_P(Both, RotationTurnsPairsOfHalvesAndBackAgain) {
  const at::Tensor heads = random({3, 4, 10}), angle = random({3, 4});  // the last two elements of a head stay
  at::Tensor turned = heads.clone();
  rotate(compute_, turned, 3, angle.cos(), angle.sin(), false);
  const at::Tensor first = heads.narrow(1, 0, 3).narrow(2, 0, 4), second = heads.narrow(1, 0, 3).narrow(2, 4, 4);
  const at::Tensor c = angle.cos().unsqueeze(1), s = angle.sin().unsqueeze(1);
  expect_close(turned.narrow(1, 0, 3).narrow(2, 0, 8), at::cat({first * c - second * s, second * c + first * s}, 2));
  EXPECT_TRUE(at::equal(turned.narrow(2, 8, 2), heads.narrow(2, 8, 2)));
  EXPECT_TRUE(at::equal(turned.narrow(1, 3, 1), heads.narrow(1, 3, 1)));
  rotate(compute_, turned, 3, angle.cos(), angle.sin(), true);
  expect_close(turned, heads);
}

// In f64, since f32's own sums over a vocabulary are off by more than what is compared.
TEST_P(Both, OutputLossIsThatOfTheWholeLogitsAtOnce) {
  const double tolerance =
      compute_.kernels == nullptr ? 2e-4 : 5e-5;  // libtorch's sums over a vocabulary are the less exact ones
  for (const double softcap : {0.0, 4.0}) {
    const at::Tensor hidden = random({450, 8}), weight = random({50000, 8});  // several blocks of rows
    const at::Tensor targets = at::randint(50000, {450}, at::kLong), weights = at::rand({450});
    at::Tensor dhidden, scratch, dweight = at::zeros_like(weight);
    const ProductWeight packed(weight);
    const at::Tensor ours = output_loss(compute_, hidden, packed, targets, weights, softcap, dhidden, dweight, scratch);
    EXPECT_TRUE(at::equal(target_log_probabilities(compute_, hidden, packed, targets, softcap, scratch), ours));

    const at::Tensor h = hidden.to(at::kDouble).requires_grad_(), w = weight.to(at::kDouble).requires_grad_();
    at::Tensor logits = at::linear(h, w);
    if (softcap > 0) logits = at::tanh(logits / softcap) * softcap;
    const at::Tensor reference = at::log_softmax(logits, -1).gather(1, targets.unsqueeze(1)).squeeze(1);
    (-reference * weights).sum().backward();
    expect_close(ours, reference.detach());
    expect_close(dhidden, h.grad(), tolerance);
    expect_close(dweight, w.grad(), tolerance);
  }
}

TEST_P(Both, AdaptedLinearsGradientsAreThoseOfAutogradAndTheWeightHasNone) {
  Parameters parameters;
  LinearPart q{"q", 6, true}, k{"k", 4}, v{"v", 4, true};
  q.scaling = 1.5;
  v.scaling = 0.5;
  q.lora_a = add(parameters, "q.A", {2, 8});
  v.lora_a = add(parameters, "v.A", {2, 8});
  q.lora_b = add(parameters, "q.B", {6, 2});
  v.lora_b = add(parameters, "v.B", {4, 2});
  parameters.allocate(at::kCPU, true);
  parameters.values.copy_(random({parameters.element_count()}));
  const at::Tensor weight = random({14, 8});
  AdaptedLinear layer(compute_, {q, k, v}, weight, {}, {2, 0.0}, std::nullopt);
  layer.refresh(parameters);
  at::Tensor x = random({5, 8}), hidden;
  const at::Tensor dy = random({5, 14});
  const at::Tensor y = layer.forward(x, hidden, 0);
  const at::Tensor dx = layer.backward(x, hidden, dy, 0, true, parameters);

  std::vector<at::Tensor> leaves;
  for (size_t i = 0; i < 4; ++i) leaves.push_back(parameters.value(i).clone().requires_grad_());
  x.requires_grad_();
  const at::Tensor delta_q = at::linear(at::linear(x, leaves[0]), leaves[2]) * 1.5;
  const at::Tensor delta_v = at::linear(at::linear(x, leaves[1]), leaves[3]) * 0.5;
  const at::Tensor reference = at::linear(x, weight) + at::cat({delta_q, at::zeros({5, 4}), delta_v}, 1);
  reference.backward(dy);
  expect_close(y, reference.detach());
  expect_close(dx, x.grad());
  for (size_t i = 0; i < 4; ++i) expect_close(parameters.gradient(i), leaves[i].grad());
}

TEST(AdaptedLinear, DropoutKeepsTheMeanAndItsGradientUsesTheSameMask) {
  Parameters parameters;
  LinearPart part{"q", 3, true};
  part.scaling = 1;
  part.lora_a = add(parameters, "A", {2, 64});
  part.lora_b = add(parameters, "B", {3, 2});
  parameters.allocate(at::kCPU, true);
  parameters.values.copy_(random({parameters.element_count()}));
  AdaptedLinear layer(make_compute(at::kCPU, at::kFloat, false), {part}, at::zeros({3, 64}), {}, {2, 0.5},
                      std::nullopt);
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
