#include "agents/engine/train/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "agents/engine/spec/schema.h"
#include "backend/base/error.h"

namespace slipway::train {
namespace {

using nlohmann::json;

json minimal() {
  return {{"version", 1},
          {"kind", "train"},
          {"model", {{"path", "m"}}},
          {"data", {{"train", json::array({{{"path", "t.jsonl"}, {"format", "messages"}}})}}},
          {"method", {{"type", "lora"}}}};
}

TrainSettings settings(const json& spec) { return settings_from_spec(spec::parse_spec("train", spec.dump())); }

TEST(Settings, DefaultsAreFilledIn) {
  const TrainSettings s = settings(minimal());
  EXPECT_EQ(s.method.target_modules.size(), 7U);
  EXPECT_EQ(s.adapter_output, "out/adapter");
  EXPECT_EQ(s.merged_output, "");
  EXPECT_EQ(s.seed, 42U);
}

TEST(Settings, ScalingIsThatOfPeft) {
  json spec = minimal();
  spec["method"].update({{"r", 4}, {"lora_alpha", 8}});
  EXPECT_EQ(settings(spec).method.scaling(""), 2.0);
  spec["method"]["use_rslora"] = true;
  EXPECT_EQ(settings(spec).method.scaling(""), 4.0);
}

TEST(Settings, PromptTuningHasNoLowRankAdapter) {
  json spec = minimal();
  spec["method"] = {{"type", "multitask_prompt_tuning"}, {"num_virtual_tokens", 7}, {"num_tasks", 3}, {"num_ranks", 2}};
  const TrainSettings s = settings(spec);
  EXPECT_EQ(s.method.virtual_tokens(), 7);
  EXPECT_EQ(s.method.prompt.num_tasks, 3);
  EXPECT_EQ(s.adapter_output, "out/adapter");
  EXPECT_EQ(s.parameter_file(), "adapter_model.safetensors");
  EXPECT_EQ(settings(minimal()).method.virtual_tokens(), 0);
}

TEST(Settings, FullFineTuningNeedsNoAdapter) {
  json spec = minimal();
  spec["method"] = {{"type", "full"}};
  const TrainSettings s = settings(spec);
  EXPECT_EQ(s.adapter_output, "");
  EXPECT_EQ(s.merged_output, "out/merged");
}

TEST(Settings, ALearningRateOfZeroIsAllowed) {
  json spec = minimal();
  spec["training"]["learning_rate"] = 0;
  EXPECT_EQ(settings(spec).learning_rate, 0.0);
}

TEST(Settings, TheFingerprintSeesWhatChangesTheNumbersOnly) {
  json spec = minimal();
  const std::string fingerprint = settings(spec).fingerprint;
  spec["training"]["save_steps"] = 7;
  spec["output"]["merged"] = "elsewhere";
  spec["training"]["device"] = "cpu";
  EXPECT_EQ(settings(spec).fingerprint, fingerprint);
  spec["parallel"] = {{"strategy", "fsdp"}, {"ranks", 1}, {"min_ranks", 1}};
  const std::string shared_out = settings(spec).fingerprint;
  spec["parallel"]["strategy"] = "ddp";
  EXPECT_EQ(settings(spec).fingerprint, shared_out);
  spec["parallel"]["ranks"] = 2;  // twice the batch
  EXPECT_NE(settings(spec).fingerprint, shared_out);
  spec["training"]["seed"] = 43;
  EXPECT_NE(settings(spec).fingerprint, fingerprint);
}

TEST(Settings, WhatCannotBeDoneIsRefused) {
  json merged_prompt = minimal();
  merged_prompt["method"] = {{"type", "prompt_tuning"}};
  EXPECT_NO_THROW(settings(merged_prompt));
  merged_prompt["output"] = {{"merged", "m"}};
  EXPECT_THROW(settings(merged_prompt), base::Error);
  json writing_reward = minimal();
  writing_reward["objective"] = {{"type", "reward"}};
  writing_reward["data"]["train"][0]["format"] = "preference";
  EXPECT_NO_THROW(settings(writing_reward));
  writing_reward["training"]["sample_prompts"] = {"x"};
  EXPECT_THROW(settings(writing_reward), base::Error);
  json no_output = minimal();
  no_output["output"] = {{"adapter", ""}, {"merged", ""}};
  EXPECT_THROW(settings(no_output), base::Error);
  json no_evaluation = minimal();
  no_evaluation["training"]["early_stopping_patience"] = 2;
  EXPECT_THROW(settings(no_evaluation), base::Error);
  json no_preferences = minimal();
  no_preferences["objective"] = {{"type", "dpo"}};
  EXPECT_THROW(settings(no_preferences), base::Error);
  json dropout = minimal();
  dropout["method"].update({{"use_dora", true}, {"lora_dropout", 0.1}});
  EXPECT_THROW(settings(dropout), base::Error);
  json no_steps = minimal();
  no_steps["training"] = {{"num_train_epochs", 0}};
  EXPECT_THROW(settings(no_steps), base::Error);
}

}  // namespace
}  // namespace slipway::train
