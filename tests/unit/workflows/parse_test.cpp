#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "workflows/workflow.h"

namespace slipway::workflows {
namespace {

using testing::HasSubstr;

const std::string kHead = R"(name: small
title: Small
description: d
run_name: r
steps: [{name: one, title: One}]
)";

std::string problems_of(const std::string& yaml) {
  const auto parsed = parse_workflow(yaml, "w.yaml");
  return parsed.ok() ? "" : std::string(parsed.status().message());
}

TEST(ParseWorkflow, ReadsTypesAsWritten) {
  const auto parsed = parse_workflow(kHead + R"(
parameters:
  - {name: count, type: integer, label: Count, help: h, step: one, default: 3, minimum: 1, maximum: 1.0e3}
  - {name: word, type: string, label: Word, help: h, step: one, default: "3"}
tasks:
  - {name: a, title: A, engine: prep, spec: {n: 1, x: 2e-4, t: true, s: "1", z: null, c: "${parameters.count}"}, upload_artifacts: [out]}
  - {name: b, title: B, engine: eval, inputs: [{artifact: "${tasks.a.artifacts.out}", path: in}], spec: {}}
)",
                                     "w.yaml");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->parameters[0].default_value, 3);
  EXPECT_EQ(parsed->parameters[0].maximum, 1000);
  EXPECT_EQ(parsed->parameters[1].default_value, "3");
  EXPECT_EQ(parsed->tasks[0].spec.dump(), R"({"n":1,"x":0.0002,"t":true,"s":"1","z":null,"c":"${parameters.count}"})");
  EXPECT_EQ(parsed->tasks[1].needs, std::vector<std::string>{"a"});
}

TEST(ParseWorkflow, NamesThePlaceOfEveryProblem) {
  const std::string problems = problems_of(kHead + R"(parameters:
  - {name: count, type: whole, label: Count, help: h, step: two}
  - {name: count, type: integer, label: Count, help: h, step: one, default: many, maximun: 3}
tasks:
  - {name: a, title: A, engine: bake, spec: {x: "${parameters.cuont}"}}
)");
  EXPECT_THAT(problems, HasSubstr("w.yaml:7:25: unknown type 'whole'"));
  EXPECT_THAT(problems, HasSubstr("there is no step 'two'"));
  EXPECT_THAT(problems, HasSubstr("w.yaml:8:83: unknown key 'maximun'"));
  EXPECT_THAT(problems, HasSubstr("declared twice"));
  EXPECT_THAT(problems, HasSubstr("the default is not of type integer"));
  EXPECT_THAT(problems, HasSubstr("w.yaml:10:33: unknown engine 'bake'"));
  EXPECT_THAT(problems, HasSubstr("there is no parameter 'cuont'"));
}

TEST(ParseWorkflow, ConditionsAreAboutChoicesDeclaredBefore) {
  const std::string problems = problems_of(kHead + R"(parameters:
  - {name: early, type: integer, label: E, help: h, step: one, for: {mode: [a]}}
  - {name: mode, type: choice, label: M, help: h, step: one, default: a, choices: [{value: a, label: A}]}
  - {name: late, type: integer, label: L, help: h, step: one, for: {mode: [b]}}
  - {name: number, type: integer, label: N, help: h, step: one, for: {early: [1]}}
  - {name: list, type: integer, label: N, help: h, step: one, for: [mode]}
tasks: [{name: a, title: A, engine: prep, spec: {}}]
)");
  EXPECT_THAT(problems, HasSubstr("w.yaml:7:70: there is no parameter 'mode' (before this place)"));
  EXPECT_THAT(problems, HasSubstr("'b' is no choice of parameter 'mode'"));
  EXPECT_THAT(problems, HasSubstr("'1' is no choice of parameter 'early'"));
  EXPECT_THAT(problems, HasSubstr("'for' is a mapping of parameters to lists of values"));
}

TEST(ParseWorkflow, TasksReferOnlyToWhatEarlierOnesDeclare) {
  const std::string head = kHead + "parameters: []\ntasks:\n";
  EXPECT_THAT(problems_of(head + R"(  - {name: a, title: A, engine: prep, spec: {x: "${tasks.b.artifacts.y}"}})"),
              HasSubstr("task 'b' does not come before"));
  EXPECT_THAT(problems_of(head + R"(  - {name: a, title: A, engine: prep, spec: {}}
  - {name: b, title: B, does: gate, with: {x: "${tasks.a.artifacts.y}"}})"),
              HasSubstr("task 'a' declares no such thing"));
  EXPECT_THAT(problems_of(head + "  - {name: a, title: A, engine: prep, spec: {}, needs: [a]}"),
              HasSubstr("does not come before"));
}

TEST(ParseWorkflow, SurvivesWhatIsNoWorkflow) {
  for (const char* yaml : {"", "[]", "a: [", "name: [1]", "name: x\nparameters: 3", "tasks: [3]", "steps: {a: b}",
                           "&a [*a]", "parameters:\n  - name: {}\n    type: []\n", "? [a]\n: b", "results: 3"}) {
    EXPECT_FALSE(parse_workflow(yaml, "w.yaml").ok()) << yaml;
  }
  EXPECT_THAT(problems_of("a: [1,\n  b: }"), HasSubstr("w.yaml:2:"));
}

}  // namespace
}  // namespace slipway::workflows
