// The arithmetic of training, counted by hand for a small model.
#include "agents/engine/train/work_count.h"

#include <gtest/gtest.h>

namespace slipway::train {
namespace {

model::Architecture small() {
  model::Architecture a;
  a.vocab_size = 100;
  a.hidden_size = 8;
  a.intermediate_size = 16;
  a.num_hidden_layers = 2;
  a.num_attention_heads = 2;
  a.num_key_value_heads = 1;
  a.head_dim = 4;
  return a;
}

constexpr double kQkv = 8 * 16, kOthers = 8 * 8 + 3 * 8 * 16, kOutput = 800;
constexpr double kPairs = 3 * 4 / 2;  // of three tokens
constexpr double kAttention = 8;      // elements of a query, all heads

TEST(WorkCount, FullTrainingTakesSixPerWeight) {
  MethodSettings method;
  method.type = MethodType::kFull;
  EXPECT_DOUBLE_EQ(WorkCount(small(), method).document(3, 2),
                   6 * (2 * (kQkv + kOthers) * 3 + kOutput * 2) + 2 * 12 * kAttention * kPairs);
}

TEST(WorkCount, FrozenLayersTakeNoGradient) {
  MethodSettings method;
  method.type = MethodType::kFull;
  method.freeze_layers = 1;
  method.freeze_embeddings = true;
  EXPECT_DOUBLE_EQ(WorkCount(small(), method).document(3, 2),
                   (2 + 6) * (kQkv + kOthers) * 3 + 4 * kOutput * 2 + (4 + 12) * kAttention * kPairs);
}

TEST(WorkCount, LoraTakesFourPerWeightAndSixPerAdapterWeight) {
  MethodSettings method;
  method.r = 2;
  method.target_modules = {"q_proj", "down_proj"};
  const double adapters = 2 * ((8 + 8) + (8 + 16));
  // The first layer's input needs no gradient.
  EXPECT_DOUBLE_EQ(
      WorkCount(small(), method).document(3, 3),
      (4 * 2 * (kQkv + kOthers) - 2 * kQkv + 2 * 6 * adapters) * 3 + 4 * kOutput * 3 + 2 * 12 * kAttention * kPairs);
}

TEST(WorkCount, WindowsLimitThePairs) {
  MethodSettings method;
  method.type = MethodType::kFull;
  model::Architecture windowed = small();
  windowed.sliding_window = 2;
  windowed.windowed_layers = {true, false};
  const double pairs = 1 + 2 + 2;
  EXPECT_DOUBLE_EQ(WorkCount(windowed, method).document(3, 0),
                   6 * 2 * (kQkv + kOthers) * 3 + 12 * kAttention * (pairs + kPairs));
}

}  // namespace
}  // namespace slipway::train
