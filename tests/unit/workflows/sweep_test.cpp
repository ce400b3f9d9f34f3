#include "workflows/sweep.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "backend/base/status.h"

namespace slipway::workflows {
namespace {

Workflow workflow() {
  Workflow workflow;
  workflow.name = "tune";
  for (const auto& [name, type] : {std::pair{"rate", ParameterType::kNumber}, std::pair{"r", ParameterType::kInteger},
                                   std::pair{"optim", ParameterType::kChoice}}) {
    Parameter parameter;
    parameter.name = name;
    parameter.type = type;
    workflow.parameters.push_back(parameter);
  }
  return workflow;
}

SweepAxis values(const std::string& parameter, std::vector<std::string> texts) {
  return {parameter, std::move(texts), std::nullopt, std::nullopt, false};
}

TEST(Sweep, AGridIsEveryCombinationWithTheLastAxisFastest) {
  const auto runs = expand_sweep(workflow(), {values("rate", {"1e-4", "3e-4"}), values("r", {"4", "8", "16"})}, 0, 0);
  ASSERT_TRUE(runs.ok());
  ASSERT_EQ(runs->size(), 6U);
  EXPECT_EQ((*runs)[0].at("rate"), "1e-4");
  EXPECT_EQ((*runs)[1].at("r"), "8");
  EXPECT_EQ((*runs)[3].at("rate"), "3e-4");
  EXPECT_EQ((*runs)[5].at("r"), "16");
}

TEST(Sweep, DrawsStayInTheirRangeAndTheSeedGivesThemAgain) {
  const std::vector<SweepAxis> axes = {
      {"rate", {}, 1e-5, 1e-2, true}, {"r", {}, 4, 64, false}, values("optim", {"\"a\"", "\"b\""})};
  const auto runs = expand_sweep(workflow(), axes, 200, 7);
  ASSERT_TRUE(runs.ok());
  int small = 0;
  for (const auto& run : *runs) {
    const double rate = std::strtod(run.at("rate").c_str(), nullptr);
    EXPECT_GE(rate, 0.99e-5);
    EXPECT_LE(rate, 1.01e-2);
    if (rate < 1e-3) ++small;
    EXPECT_EQ(run.at("r").find('.'), std::string::npos);
  }
  EXPECT_GT(small, 100) << "two of three orders of magnitude";
  EXPECT_EQ(*expand_sweep(workflow(), axes, 200, 7), *runs);
  EXPECT_NE(*expand_sweep(workflow(), axes, 200, 8), *runs);
}

TEST(Sweep, SaysEverythingThatIsWrong) {
  const auto wrong = expand_sweep(
      workflow(), {values("nothing", {"1"}), values("r", {}), {"rate", {}, 1.0, 0.5, false}, values("r", {"1"})}, 3, 0);
  ASSERT_FALSE(wrong.ok());
  EXPECT_EQ(base::detail_of(wrong.status()).violations.size(), 4U);
  EXPECT_FALSE(expand_sweep(workflow(), {}, 0, 0).ok());
  EXPECT_FALSE(expand_sweep(workflow(), {{"rate", {}, 1e-4, 1e-3, false}}, 0, 0).ok()) << "a grid has no ranges";
  EXPECT_FALSE(expand_sweep(workflow(), {values("r", std::vector<std::string>(501, "1"))}, 0, 0).ok());
}

}  // namespace
}  // namespace slipway::workflows
