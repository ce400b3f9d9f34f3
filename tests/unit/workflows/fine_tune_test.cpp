// The shipped workflow: it reads, and what it gives to the engines is what they accept.
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
    workflow_ = *catalogue->find("fine-tune-and-deploy");
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
};

TEST_F(FineTune, GivesEveryEngineASpecThatItAccepts) {
  const auto all = specs({{"model", "smollm2"}, {"dataset", "perlfaq"}, {"drop_near_copies", "true"}});
  EXPECT_EQ(all.size(), 4U);
  for (const auto& [task, spec] : all) {
    try {
      spec::parse_spec(spec["kind"].get<std::string>(), spec.dump());
    } catch (const base::Error& error) {
      FAIL() << task << ": " << error.what();
    }
  }
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

TEST_F(FineTune, EvaluatesBothBeforeItRegistersAndDeploys) {
  const auto needs = [&](const char* name) { return workflow_.find_task(name)->needs; };
  EXPECT_THAT(needs("gate"), testing::UnorderedElementsAre("evaluate_tuned", "evaluate_base"));
  EXPECT_THAT(needs("register"), testing::UnorderedElementsAre("gate", "train", "evaluate_tuned", "evaluate_base"));
  EXPECT_THAT(needs("deploy"), testing::ElementsAre("register"));
}

TEST_F(FineTune, EveryParameterSaysWhyOneWouldChangeIt) {
  for (const Parameter& parameter : workflow_.parameters) {
    EXPECT_GT(parameter.help.size(), 20U) << parameter.name;
    EXPECT_TRUE(parameter.required || !parameter.default_value.is_null()) << parameter.name;
  }
}

}  // namespace
}  // namespace slipway::workflows
