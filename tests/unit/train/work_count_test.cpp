// The arithmetic of training, counted by hand for a small model.
#include "agents/engine/train/work_count.h"

#include <gtest/gtest.h>

#include "agents/engine/train/data/dataset.h"
#include "agents/engine/train/row_set.h"

namespace slipway::train {
namespace {

model::Architecture small() {
  model::Architecture a;
  a.family = "llama";
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

// One pair: chosen has four tokens, two of them trained; rejected three, of which one is trained.
Dataset one_pair() {
  Dataset data;
  data.documents.add(std::vector<int32_t>{1, 2, 3, 4}, std::vector<uint8_t>{0, 0, 1, 1});
  data.documents.add(std::vector<int32_t>{1, 2, 5}, std::vector<uint8_t>{0, 0, 1});
  data.preferences = {{0, 1}};
  data.epoch = {0};
  return data;
}

double work_of_pair(Dataset data, ObjectiveType objective) {
  TrainSettings settings;
  settings.objective.type = objective;
  if (objective == ObjectiveType::kKto) add_mismatched(data, 2, 100);
  return WorkCount(small(), settings.method, objective).rows(make_row_set(data, settings, -1), {0});
}

TEST(WorkCount, PreferencesCountWhatTheirStepsCompute) {
  const WorkCount count(small(), MethodSettings());
  const double answers = count.document(4, 2) + count.document(3, 1);
  EXPECT_DOUBLE_EQ(work_of_pair(one_pair(), ObjectiveType::kDpo), answers);
  // Every token of the chosen answer is predicted.
  EXPECT_DOUBLE_EQ(work_of_pair(one_pair(), ObjectiveType::kOrpo), count.document(4, 3) + count.document(3, 1));
  // Each prompt with the other's answer, forward alone.
  EXPECT_DOUBLE_EQ(work_of_pair(one_pair(), ObjectiveType::kKto), answers + count.forward(3, 1) + count.forward(4, 2));
  const WorkCount scores(small(), MethodSettings(), ObjectiveType::kReward);
  EXPECT_DOUBLE_EQ(work_of_pair(one_pair(), ObjectiveType::kReward), scores.document(4, 0) + scores.document(3, 0));
}

TEST(WorkCount, AForwardPassTakesTwoPerWeight) {
  MethodSettings method;
  method.type = MethodType::kFull;
  EXPECT_DOUBLE_EQ(WorkCount(small(), method).forward(3, 2),
                   2 * (2 * (kQkv + kOthers) * 3 + kOutput * 2) + 2 * 4 * kAttention * kPairs);
}

}  // namespace
}  // namespace slipway::train
