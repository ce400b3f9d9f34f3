#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "workflows/plan.h"

namespace slipway::workflows {
namespace {

Workflow workflow() {
  auto parsed = parse_workflow(R"(
name: small
title: Small
description: d
run_name: ${parameters.model.name} run
steps: [{name: one, title: One}]
parameters:
  - {name: model, type: model, label: Model, help: h, step: one, required: true}
  - {name: steps, type: integer, label: Steps, help: h, step: one, default: 10, minimum: 1, maximum: 100}
  - {name: rate, type: number, label: Rate, help: h, step: one, default: 2.0e-4, minimum: 0}
  - {name: fast, type: boolean, label: Fast, help: h, step: one, default: false}
  - {name: mode, type: choice, label: Mode, help: h, step: one, default: b, choices: [{value: a, label: A}, {value: b, label: B, gives: [1, 2]}]}
  - {name: target, type: string, label: Target, help: h, step: one, default: "${run.slug}"}
tasks:
  - {name: always, title: A, engine: prep, spec: {}}
  - {name: maybe, title: B, engine: prep, spec: {}, when: "${parameters.fast}", needs: [always]}
  - {name: last, title: C, engine: prep, spec: {}, needs: [always, maybe]}
)",
                               "w.yaml");
  return *std::move(parsed);
}

CheckedParameters check(const std::map<std::string, std::string>& texts, const std::string& name = "") {
  return check_parameters(workflow(), texts, name,
                          [](ParameterType, const std::string& reference) -> absl::StatusOr<Json> {
                            if (reference == "none") return base::not_found("model", reference);
                            return Json{{"id", "mv-1"}, {"name", reference}, {"label", reference + "@1"}};
                          });
}

TEST(CheckParameters, FillsInDefaultsAndNamesTheRun) {
  const auto checked = check({{"model", "\"SmolLM2 135M\""}});
  EXPECT_TRUE(checked.violations.empty());
  EXPECT_EQ(checked.run_name, "SmolLM2 135M run");
  EXPECT_EQ(checked.values["steps"], 10);
  EXPECT_EQ(checked.values["mode"], (Json{1, 2}));
  EXPECT_EQ(checked.texts.at("mode"), "\"b\"");
  EXPECT_EQ(checked.texts.at("target"), "\"smollm2-135m-run\"");
  EXPECT_EQ(checked.texts.at("model"), "\"SmolLM2 135M@1\"");
  EXPECT_EQ(checked.texts.at("rate"), "0.0002");
}

TEST(CheckParameters, TakesBareWordsAndQuotedNumbers) {
  const auto checked =
      check({{"model", "smol"}, {"steps", "\"20\""}, {"mode", "a"}, {"target", "123"}, {"rate", "1"}}, "n");
  EXPECT_TRUE(checked.violations.empty());
  EXPECT_EQ(checked.run_name, "n");
  EXPECT_EQ(checked.values["steps"], 20);
  EXPECT_EQ(checked.values["mode"], "a");
  EXPECT_EQ(checked.values["target"], "123");
}

TEST(CheckParameters, AnswersEverythingThatIsWrongAtOnce) {
  const auto checked =
      check({{"model", "none"}, {"steps", "101"}, {"rate", "fast"}, {"fast", "1"}, {"mode", "c"}, {"stpes", "1"}});
  std::vector<std::string> fields;
  for (const auto& violation : checked.violations) {
    fields.push_back(violation.field);
    EXPECT_FALSE(violation.message.empty());
    EXPECT_FALSE(violation.advice.empty());
  }
  EXPECT_THAT(fields, testing::UnorderedElementsAre("parameters.model", "parameters.steps", "parameters.rate",
                                                    "parameters.fast", "parameters.mode", "parameters.stpes"));
}

TEST(CheckParameters, AsksForWhatIsRequired) {
  const auto checked = check({});
  ASSERT_EQ(checked.violations.size(), 1U);
  EXPECT_EQ(checked.violations[0].field, "parameters.model");
}

TEST(CheckParameters, RefusesNumbersThatAreNot) {
  for (const char* text : {"1.5", "1e400", "[]", "{}", "99999999999999999999", "-0.5"}) {
    EXPECT_EQ(check({{"model", "m"}, {"steps", text}}).violations.size(), 1U) << text;
  }
}

TEST(CheckParameters, WhatDoesNotCountHasNoValueAndIsNotChecked) {
  const auto parsed = parse_workflow(R"(
name: small
title: Small
description: d
run_name: run
steps: [{name: one, title: One}]
parameters:
  - {name: method, type: choice, label: M, help: h, step: one, default: a, choices: [{value: a, label: A}, {value: b, label: B, gives: [1]}]}
  - {name: rank, type: integer, label: R, help: h, step: one, default: 4, maximum: 8, for: {method: [a]}}
  - {name: text, type: string, label: T, help: h, step: one, required: true, for: {method: [b]}}
  - {name: serve, type: boolean, label: S, help: h, step: one, default: true, for: {method: [a]}}
  - {name: port, type: string, label: P, help: h, step: one, default: "${run.slug}", for: {serve: [true]}}
tasks:
  - {name: train, title: T, engine: prep, spec: {rank: "${parameters.rank}", text: "${parameters.text}"}}
  - {name: serve, title: S, engine: prep, spec: {}, when: "${parameters.serve}"}
)",
                                     "w.yaml");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const auto check = [&](const std::map<std::string, std::string>& texts) {
    return check_parameters(*parsed, texts, "", [](ParameterType, const std::string&) { return Json(); });
  };
  const auto plain = check({});
  EXPECT_TRUE(plain.violations.empty());
  EXPECT_EQ(plain.values["rank"], 4);
  EXPECT_EQ(plain.values["port"], "run");
  EXPECT_EQ(plain.texts.count("text"), 0U);

  const auto other = check({{"method", "b"}, {"rank", "100"}, {"text", "\"x\""}, {"port", "\"p\""}});
  EXPECT_TRUE(other.violations.empty());
  EXPECT_TRUE(other.values["rank"].is_null());
  EXPECT_TRUE(other.values["port"].is_null()) << "what it hangs on does not count either";
  EXPECT_EQ(other.texts.size(), 2U);
  EXPECT_EQ(plan_tasks(*parsed, other.values)->size(), 1U);

  EXPECT_EQ(check({{"method", "b"}}).violations.at(0).field, "parameters.text");
  EXPECT_EQ(check({{"rank", "100"}}).violations.size(), 1U);
  EXPECT_EQ(check({{"method", "c"}, {"rank", "100"}}).violations.size(), 1U)
      << "only the method, which the rest hangs on";
  EXPECT_EQ(check({{"serve", "false"}}).texts.count("port"), 0U);
}

TEST(PlanTasks, LeavesOutTasksAndTheNeedsForThem) {
  const auto without = plan_tasks(workflow(), {{"fast", false}});
  ASSERT_EQ(without->size(), 2U);
  EXPECT_EQ(without->back().needs, std::vector<std::string>{"always"});
  EXPECT_EQ(plan_tasks(workflow(), {{"fast", true}})->size(), 3U);
}

TEST(PlanTasks, SurviveAJourneyThroughJson) {
  const auto tasks = plan_tasks(workflow(), {{"fast", true}});
  ASSERT_TRUE(tasks.ok());
  for (const Task& task : *tasks) {
    EXPECT_EQ(to_json(task_from_json(to_json(task))), to_json(task));
  }
}

TEST(Slug, IsSafeForAnyText) {
  EXPECT_EQ(slug_of("Perl FAQ @ SmolLM2!"), "perl-faq-smollm2");
  EXPECT_EQ(slug_of("тест"), "run");
  EXPECT_EQ(slug_of(std::string(500, 'a')).size(), 60U);
}

}  // namespace
}  // namespace slipway::workflows
