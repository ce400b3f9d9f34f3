#include "workflows/template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slipway::workflows {
namespace {

const Json kScope = {
    {"parameters",
     {{"r", 16}, {"rate", 2e-4}, {"on", true}, {"off", false}, {"none", nullptr}, {"model", {{"path", "x.gguf"}}}}}};

TEST(Template, KeepsTypesOfWholeReferences) {
  EXPECT_EQ(*fill_in(Json("${parameters.r}"), kScope), 16);
  EXPECT_EQ(*fill_in(Json("${parameters.rate}"), kScope), 2e-4);
  EXPECT_EQ(*fill_in(Json("${parameters.on}"), kScope), true);
  EXPECT_EQ(*fill_in(Json("in/${parameters.model.path}?r=${parameters.r}"), kScope), "in/x.gguf?r=16");
}

TEST(Template, LeavesOutWhatIsNullAndWhatIsNotWanted) {
  const Json value = Json::parse(R"({"a": "${parameters.none}", "b": [{"$when": "${parameters.off}", "x": 1},
                                     {"$when": "${parameters.on}", "x": 2}]})");
  EXPECT_EQ(fill_in(value, kScope)->dump(), R"({"b":[{"x":2}]})");
}

TEST(Template, NamesAReferenceThatIsNotThere) {
  const auto filled = fill_in(Json("${parameters.model.size}"), kScope);
  EXPECT_THAT(std::string(filled.status().message()), testing::HasSubstr("${parameters.model.size}"));
  EXPECT_FALSE(fill_in(Json("${parameters.r.x}"), kScope).ok());
  EXPECT_FALSE(fill_in(Json("${"), kScope).ok());
  EXPECT_FALSE(fill_in(Json("${}"), kScope).ok());
}

TEST(Template, ListsReferences) {
  const Json value = Json::parse(R"({"a": ["${x.y}", {"b": "${z}-${x.y}"}], "c": 3})");
  EXPECT_EQ(*references_of(value), (std::vector<std::string>{"x.y", "z", "x.y"}));
}

TEST(Templates, ACaseBecomesOneOfItsEntries) {
  const Json value =
      Json::parse(R"({"a": {"$case": "${kind}", "x": {"n": "${n}"}, "$else": 2}, "b": {"$case": "${kind}", "y": 1}})");
  EXPECT_EQ(*fill_in(value, {{"kind", "x"}, {"n", 7}}), Json::parse(R"({"a": {"n": 7}})"));
  EXPECT_EQ(*fill_in(value, {{"kind", "y"}, {"n", 7}}), Json::parse(R"({"a": 2, "b": 1})"));
  EXPECT_EQ(*fill_in(Json::parse(R"({"$case": "${on}", "true": "yes"})"), {{"on", true}}), Json("yes"));
}

}  // namespace
}  // namespace slipway::workflows
