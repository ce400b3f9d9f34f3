// The shipped workflows: they read, and what they give to the engines is what those accept.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agents/engine/spec/schema.h"
#include "backend/base/error.h"
#include "workflows/catalogue.h"
#include "workflows/plan.h"
#include "workflows/template.h"

namespace slipway::workflows {
namespace {

absl::StatusOr<Json> resolve(ParameterType type, const std::string& reference) {
  if (type == ParameterType::kModel) {
    return Json{
        {"id", "mv-1"}, {"name", reference}, {"label", reference + "@1"}, {"artifact_id", "a1"}, {"path", "m.gguf"}};
  }
  return Json{{"id", "dv-1"},
              {"name", reference},
              {"label", reference + "@1"},
              {"artifact_id", "a2"},
              {"path", "rows.jsonl"},
              {"format", "prompt_completion"},
              {"roles", {{"prompt", "question"}, {"completion", "answer"}}}};
}

class FineTune : public testing::Test {
 protected:
  void SetUp() override {
    auto catalogue = Catalogue::load(SLIPWAY_SOURCE_DIR "/workflows");
    ASSERT_TRUE(catalogue.ok()) << catalogue.status();
    for (const char* name : {"fine-tune-and-deploy", "full-fine-tune", "preference-tune"}) {
      ASSERT_NE(catalogue->find(name), nullptr) << name;
      all_.push_back(*catalogue->find(name));
    }
    workflow_ = all_.front();
  }
  // The spec of each engine task, with stand-ins for what earlier tasks give.
  std::map<std::string, Json> specs(const std::map<std::string, std::string>& texts) {
    const auto checked = check_parameters(workflow_, texts, "", resolve);
    EXPECT_TRUE(checked.violations.empty()) << checked.violations[0].message;
    Json scope = {{"parameters", checked.values}, {"tasks", Json::object()}};
    std::map<std::string, Json> specs;
    const auto tasks = plan_tasks(workflow_, checked.values);
    EXPECT_TRUE(tasks.ok()) << tasks.status();
    for (const Task& task : tasks.value()) {
      for (const std::string& name : task.upload_artifacts) scope["tasks"][task.name]["artifacts"][name] = "id-" + name;
      for (const TaskResult& result : task.results) scope["tasks"][task.name]["results"][result.name] = 7.5;
      if (!is_engine(task.kind)) continue;
      const auto spec = fill_in(task.spec, scope);
      EXPECT_TRUE(spec.ok()) << task.name << ": " << spec.status();
      specs[task.name] = *spec;
    }
    return specs;
  }
  Workflow workflow_;
  std::vector<Workflow> all_;
};

TEST_F(FineTune, GivesEveryEngineASpecThatItAccepts) {
  for (const Workflow& workflow : all_) {
    workflow_ = workflow;
    const auto all = specs({{"model", "smollm2"}, {"dataset", "perlfaq"}});
    EXPECT_GE(all.size(), 2U);
    for (const auto& [task, spec] : all) {
      try {
        spec::parse_spec(spec["kind"].get<std::string>(), spec.dump());
      } catch (const base::Error& error) {
        FAIL() << workflow.name << ", " << task << ": " << error.what();
      }
    }
  }
}

TEST_F(FineTune, PreferencesAreLearnedByTheChosenObjective) {
  workflow_ = all_.back();
  for (const char* objective : {"dpo", "orpo", "kto"}) {
    auto all = specs({{"model", "m"}, {"dataset", "d"}, {"objective", objective}, {"beta", "0.2"}});
    EXPECT_EQ(all["train"]["objective"]["type"], objective);
    EXPECT_EQ(all["train"]["objective"]["beta"], 0.2);
    EXPECT_NO_THROW(spec::parse_spec("train", all["train"].dump()));
  }
}

TEST_F(FineTune, ARewardModelIsMergedRegisteredAndNotDeployed) {
  workflow_ = all_.back();
  const std::map<std::string, std::string> typed = {
      {"model", "m"}, {"dataset", "d"}, {"objective", "reward"}, {"beta", "0.2"}, {"sample_prompt", "\"Why?\""}};
  auto all = specs(typed);
  const Json& train = all["train_reward"];
  EXPECT_NO_THROW(spec::parse_spec("train", train.dump()));
  EXPECT_EQ(train["objective"], (Json{{"type", "reward"}, {"center_rewards_coefficient", 0}}));
  EXPECT_EQ(train["output"], (Json{{"adapter", ""}, {"merged", "out/model"}}));
  EXPECT_EQ(train["training"]["sample_prompts"], Json::array()) << "it writes nothing";
  std::vector<std::string> names;
  const auto planned = plan_tasks(workflow_, check_parameters(workflow_, typed, "", resolve).values);
  for (const Task& task : planned.value()) names.push_back(task.name);
  EXPECT_THAT(names, testing::ElementsAre("prepare", "train_reward", "register_reward"));
  ASSERT_EQ(planned->at(1).results.size(), 1U);
  EXPECT_EQ(planned->at(1).results[0].metric, "eval_accuracy");
  EXPECT_EQ(task_from_json(to_json(planned->at(1))).results[0].metric, "eval_accuracy");
}

TEST_F(FineTune, PromptTuningHasItsOwnSettings) {
  auto all = specs({{"model", "m"},
                    {"dataset", "d"},
                    {"method", "prompt_tuning"},
                    {"num_virtual_tokens", "8"},
                    {"prompt_tuning_init", "TEXT"},
                    {"prompt_tuning_init_text", "\"Answer about Perl.\""},
                    {"learning_rate", "1e-3"}});
  EXPECT_EQ(all["train"]["method"], (Json{{"type", "prompt_tuning"},
                                          {"num_virtual_tokens", 8},
                                          {"prompt_tuning_init", "TEXT"},
                                          {"prompt_tuning_init_text", "Answer about Perl."}}));
  EXPECT_EQ(all["train"]["training"]["learning_rate"], 0.03);
  EXPECT_NO_THROW(spec::parse_spec("train", all["train"].dump()));
  EXPECT_EQ(all["evaluate_tuned"]["model"]["adapter"], "inputs/adapter");
  const auto without = specs({{"model", "m"}, {"dataset", "d"}, {"method", "prompt_tuning"}})["train"]["method"];
  EXPECT_FALSE(without.contains("prompt_tuning_init_text"));
}

TEST_F(FineTune, MultitaskPromptTuningKeepsEachRowsTask) {
  const std::map<std::string, std::string> values = {
      {"model", "m"}, {"dataset", "d"}, {"method", "multitask_prompt_tuning"}, {"num_tasks", "3"}, {"num_ranks", "2"}};
  auto all = specs(values);
  EXPECT_EQ(all["prepare"]["num_tasks"], 3);
  EXPECT_EQ(all["train"]["method"], (Json{{"type", "multitask_prompt_tuning"},
                                          {"num_tasks", 3},
                                          {"num_ranks", 2},
                                          {"num_virtual_tokens", 20},
                                          {"prompt_tuning_init", "SAMPLE_VOCAB"}}));
  EXPECT_EQ(all["train"]["training"]["learning_rate"], 0.03);
  for (const char* kind : {"prep", "train"}) {
    EXPECT_NO_THROW(spec::parse_spec(kind, all[kind == std::string("prep") ? "prepare" : "train"].dump()));
  }
  EXPECT_EQ(specs({{"model", "m"}, {"dataset", "d"}})["prepare"]["num_tasks"], 0);
}

TEST_F(FineTune, FullTuningNeedsNoAdapter) {
  workflow_ = all_[1];
  auto all = specs({{"model", "m"}, {"dataset", "d"}, {"freeze_layers", "4"}});
  EXPECT_EQ(all["train"]["method"]["freeze_layers"], 4);
  EXPECT_EQ(all["train"]["output"]["adapter"], "");
  EXPECT_EQ(all["evaluate_tuned"]["model"]["adapter"], "");
}

TEST_F(FineTune, CarriesWhatWasTyped) {
  auto all = specs({{"model", "m"},
                    {"dataset", "d"},
                    {"max_steps", "30"},
                    {"learning_rate", "1e-3"},
                    {"target_modules", "attention"}});
  EXPECT_EQ(all["train"]["training"]["max_steps"], 30);
  EXPECT_EQ(all["train"]["training"]["learning_rate"], 1e-3);
  EXPECT_EQ(all["train"]["method"]["target_modules"], (Json{"q_proj", "k_proj", "v_proj", "o_proj"}));
  EXPECT_EQ(all["train"]["model"]["path"], "inputs/model/m.gguf");
  EXPECT_EQ(all["prepare"]["operators"].size(), 3U);
  EXPECT_EQ(all["prepare"]["inputs"][0]["mapping"]["prompt"], "question");
}

TEST_F(FineTune, EveryMethodAndSamplePromptIsTaken) {
  for (const char* method : {"lora", "rslora", "dora"}) {
    auto all = specs({{"model", "m"}, {"dataset", "d"}, {"method", method}, {"sample_prompt", "\"Why?\""}});
    EXPECT_EQ(all["train"]["method"]["use_dora"], std::string(method) == "dora");
    EXPECT_EQ(all["train"]["method"]["use_rslora"], std::string(method) == "rslora");
    EXPECT_EQ(all["train"]["training"]["sample_prompts"], Json{"Why?"});
    EXPECT_NO_THROW(spec::parse_spec("train", all["train"].dump()));
  }
  EXPECT_EQ(specs({{"model", "m"}, {"dataset", "d"}})["train"]["training"]["sample_prompts"], Json::array());
}

TEST_F(FineTune, EvaluatesBothBeforeItRegistersAndDeploys) {
  const auto needs = [&](const char* name) { return workflow_.find_task(name)->needs; };
  EXPECT_THAT(needs("gate"), testing::UnorderedElementsAre("evaluate_tuned", "evaluate_base"));
  EXPECT_THAT(needs("register"), testing::UnorderedElementsAre("gate", "train", "evaluate_tuned", "evaluate_base"));
  EXPECT_THAT(needs("deploy"), testing::ElementsAre("register"));
}

TEST_F(FineTune, EveryParameterSaysWhyOneWouldChangeIt) {
  for (const Workflow& workflow : all_) {
    for (const Parameter& parameter : workflow.parameters) {
      EXPECT_GT(parameter.help.size(), 20U) << parameter.name;
      EXPECT_TRUE(parameter.required || !parameter.default_value.is_null()) << parameter.name;
    }
  }
}

TEST_F(FineTune, QuantizeNeedsNoDatasetAndCalibratesInt4WithOne) {
  auto catalogue = Catalogue::load(SLIPWAY_SOURCE_DIR "/workflows");
  workflow_ = *catalogue->find("quantize");
  auto alone = specs({{"model", "small"}});
  ASSERT_EQ(alone.size(), 1U);
  auto plain = alone.at("quantize");
  EXPECT_EQ(plain["calibration"]["path"], "");
  EXPECT_NO_THROW(spec::parse_spec("quantize", plain.dump()));
  for (const auto& [dtype, path] : {std::pair{"int8", ""}, {"int4", "inputs/data/train.jsonl"}}) {
    const auto measured = specs({{"model", "small"}, {"dataset", "faq"}, {"dtype", dtype}});
    ASSERT_EQ(measured.size(), 4U);
    EXPECT_EQ(measured.at("quantize")["calibration"]["path"], path);
    for (const auto& [task, kind] :
         {std::pair{"prepare", "prep"}, {"quantize", "quantize"}, {"evaluate_after", "eval"}}) {
      EXPECT_NO_THROW(spec::parse_spec(kind, measured.at(task).dump())) << task;
    }
  }
  workflow_ = *catalogue->find("held-out-evaluation");
  const auto evaluation = specs({{"model", "small"}, {"dataset", "faq"}, {"dtype", "int4"}});
  EXPECT_EQ(evaluation.at("evaluate")["model"]["dtype"], "int4");
  for (const auto& [task, kind] : {std::pair{"prepare", "prep"}, {"evaluate", "eval"}}) {
    EXPECT_NO_THROW(spec::parse_spec(kind, evaluation.at(task).dump())) << task;
  }
}

}  // namespace
}  // namespace slipway::workflows
