#include "agents/engine/spec/schema.h"

#include <gtest/gtest.h>

#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::spec {
namespace {

using nlohmann::json;

std::string contract(const std::string& kind) {
  return base::read_file(std::string(SLIPWAY_SOURCE_DIR) + "/tests/unit/spec/contracts/" + kind + ".json");
}

std::string refusal(const std::string& kind, const std::string& text) {
  try {
    parse_spec(kind, text);
  } catch (const base::Error& error) {
    EXPECT_EQ(error.code(), base::kInvalidSpec);
    return error.what();
  }
  return "accepted";
}

TEST(Schema, AcceptsEveryContractExampleAndKeepsItsValues) {
  for (const std::string kind : {"prep", "train", "eval", "serve"}) {
    const json given = json::parse(contract(kind));
    const json checked = parse_spec(kind, contract(kind));
    const json difference = json::diff(given, checked);
    for (const json& change : difference) EXPECT_EQ(change["op"], "add") << kind << ": " << change;  // defaults only
  }
}

TEST(Schema, NamesTheNearestFieldForAMisspeltOne) {
  json spec = json::parse(contract("train"));
  spec["training"]["learning_rat"] = 1e-3;
  EXPECT_NE(refusal("train", spec.dump()).find("training.learning_rat is unknown; did you mean learning_rate?"),
            std::string::npos);
}

TEST(Schema, ReportsEveryViolationAtOnceWithItsPath) {
  json spec = json::parse(contract("train"));
  spec["training"]["learning_rate"] = "fast";
  spec["training"]["max_steps"] = 1.5;
  spec["data"]["train"][0]["format"] = "mesages";
  spec["method"]["type"] = "lorra";
  spec.erase("model");
  const std::string message = refusal("train", spec.dump());
  EXPECT_NE(message.find("5 faults"), std::string::npos) << message;
  EXPECT_NE(message.find("training.learning_rate must be a number of at least 0, not \"fast\""), std::string::npos)
      << message;
  EXPECT_NE(message.find("training.max_steps must be a whole number"), std::string::npos) << message;
  EXPECT_NE(message.find("data.train[0].format must be one of messages"), std::string::npos) << message;
  EXPECT_NE(message.find("did you mean messages?"), std::string::npos) << message;
  EXPECT_NE(message.find("did you mean lora?"), std::string::npos) << message;
  EXPECT_NE(message.find("model is missing"), std::string::npos) << message;
}

TEST(Schema, ChecksAnOperatorByItsOwnFields) {
  json spec = json::parse(contract("prep"));
  spec["operators"][2]["min_characters"] = 3;  // dedup_exact has none
  const std::string message = refusal("prep", spec.dump());
  EXPECT_NE(message.find("operators[2].min_characters is unknown"), std::string::npos) << message;
}

TEST(Schema, FillsInDefaultsAlsoBelowMissingObjects) {
  const json spec = parse_spec("prep", R"({"version":1,"kind":"prep","inputs":[{"path":"a.jsonl","format":"text"}]})");
  EXPECT_EQ(spec["split"]["seed"], 42);
  EXPECT_EQ(spec["output"]["format"], "messages");
  EXPECT_EQ(spec["on_error"], "fail");
}

TEST(Schema, TakesAWholeNumberWrittenWithAPoint) {
  const json spec =
      parse_spec("prep", R"({"version":1,"kind":"prep","inputs":[{"path":"a","format":"text"}],"split":{"seed":7.0}})");
  EXPECT_TRUE(spec["split"]["seed"].is_number_integer());
}

TEST(Schema, SaysWhereBrokenJsonBreaks) {
  const std::string message = refusal("prep", "{\"version\": 1,\n \"kind\": prep}");
  EXPECT_NE(message.find("line 2, column 10"), std::string::npos) << message;
}

TEST(Schema, RefusesWhatIsNoSpecAtAll) {
  EXPECT_NE(refusal("prep", ""), "accepted");
  EXPECT_NE(refusal("prep", "[]"), "accepted");
  EXPECT_NE(refusal("prep", "{\"version\":1e999}"), "accepted");
  EXPECT_NE(refusal("prep", "{\"\xff\":1}"), "accepted");
  EXPECT_NE(refusal("prep", std::string(1000000, '[')), "accepted");
  EXPECT_NE(refusal("prep", "{\"version\":1,\"version\":1}").find("twice"), std::string::npos);
}

TEST(Schema, EveryDefaultSatisfiesItsOwnSchema) {
  for (const std::string kind : {"prep", "train", "eval", "serve"}) {
    json spec = json::parse(contract(kind));
    for (const char* name : {"training", "limits", "split", "output"}) spec.erase(name);
    EXPECT_TRUE(check_against_schema(schema_of(kind), spec).empty()) << kind;
  }
}

TEST(NearestName, FindsSwappedLettersAndRefusesStrangers) {
  EXPECT_EQ(nearest_name("sede", {"seed", "shuffle"}), "seed");
  EXPECT_EQ(nearest_name("lerning_rate", {"learning_rate", "lora_alpha"}), "learning_rate");
  EXPECT_EQ(nearest_name("colour", {"seed", "shuffle"}), "");
  EXPECT_EQ(nearest_name("x", {"r"}), "");
  EXPECT_EQ(nearest_name("", {"r"}), "");
}

}  // namespace
}  // namespace slipway::spec
