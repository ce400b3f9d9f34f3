// Flags from a workflow's parameters.
#include "app/cli/workflow_flags.h"

#include <gtest/gtest.h>

#include "app/cli/failure.h"

namespace slipway::cli {
namespace {

v1::Workflow workflow() {
  v1::Workflow workflow;
  workflow.set_name("tune");
  workflow.set_title("Tune");
  auto* step = workflow.add_steps();
  step->set_name("data");
  step->set_title("Data");
  const auto add = [&](const char* name, const char* type, const char* default_json) {
    auto* parameter = workflow.add_parameters();
    parameter->set_name(name);
    parameter->set_type(type);
    parameter->set_label(std::string("The ") + name);
    parameter->set_default_json(default_json);
    parameter->set_step("data");
    return parameter;
  };
  add("model", "model", "")->set_required(true);
  auto* steps = add("max_steps", "integer", "-1");
  steps->set_minimum(-1);
  steps->set_maximum(100);
  steps->set_unit("steps");
  add("learning_rate", "number", "0.0003");
  auto* packing = add("packing", "boolean", "true");
  packing->set_advanced(true);
  auto* schedule = add("schedule", "choice", "\"cosine\"");
  schedule->add_choices()->set_value("cosine");
  schedule->add_choices()->set_value("linear");
  auto* condition = add("decay", "number", "0")->add_conditions();
  condition->set_parameter("schedule");
  condition->add_values("linear");
  return workflow;
}

TEST(RunFlags, BecomeJsonTextsOfTheirType) {
  const auto flags =
      parse_run_flags(workflow(), {"--model", "smollm2@1", "--max-steps=40", "--learning_rate", "1e-4", "--no-packing",
                                   "--schedule", "linear", "--name", "Try 1", "--watch"});
  const std::map<std::string, std::string> expected = {{"model", "\"smollm2@1\""},
                                                       {"max_steps", "40"},
                                                       {"learning_rate", "1e-4"},
                                                       {"packing", "false"},
                                                       {"schedule", "\"linear\""}};
  EXPECT_EQ(flags.parameters, expected);
  EXPECT_EQ(flags.name, "Try 1");
  EXPECT_TRUE(flags.watch);
  EXPECT_EQ(parse_run_flags(workflow(), {"--packing"}).parameters.at("packing"), "true");
  EXPECT_EQ(parse_run_flags(workflow(), {"--packing", "off", "--watch"}).parameters.at("packing"), "false");
  EXPECT_EQ(parse_run_flags(workflow(), {"--max-steps", "-1"}).parameters.at("max_steps"), "-1");
  EXPECT_EQ(parse_run_flags(workflow(), {"--model", "a \"quoted\" name"}).parameters.at("model"),
            "\"a \\\"quoted\\\" name\"");
}

TEST(RunFlags, RefuseWhatTheWorkflowDoesNotKnowAndValuesOfAnotherType) {
  const auto message = [](const std::vector<std::string>& arguments) -> std::string {
    try {
      parse_run_flags(workflow(), arguments);
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.exit(), Exit::kUsage);
      return failure.what();
    }
    return "";
  };
  EXPECT_NE(message({"--rank", "3"}).find("--rank"), std::string::npos);
  EXPECT_NE(message({"--max-steps", "2.5"}).find("not an integer"), std::string::npos);
  EXPECT_NE(message({"--learning-rate", "fast"}).find("not a number"), std::string::npos);
  EXPECT_NE(message({"--max-steps"}).find("needs a value"), std::string::npos);
  EXPECT_NE(message({"--no-model", "x"}).find("--no-model"), std::string::npos);
  EXPECT_NE(message({"stray"}).find("stray"), std::string::npos);
}

TEST(RunFlags, HelpShowsEveryParameterWithItsBoundsAndAdvancedOnesLast) {
  const auto help = parse_run_flags(workflow(), {"--help"}).help;
  EXPECT_NE(help.find("--model NAME[@VERSION]  (required)"), std::string::npos) << help;
  EXPECT_NE(help.find("--max-steps N  (default: -1; steps; -1 to 100)"), std::string::npos) << help;
  EXPECT_NE(help.find("--schedule cosine|linear  (default: cosine)"), std::string::npos) << help;
  EXPECT_NE(help.find("--decay X  (default: 0; with --schedule linear)"), std::string::npos) << help;
  EXPECT_LT(help.find("--schedule"), help.find("ADVANCED"));
  EXPECT_LT(help.find("ADVANCED"), help.find("--packing, --no-packing  (default: true)"));
}

}  // namespace
}  // namespace slipway::cli
