#include "agents/engine/prep/prep.h"

#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <set>

#include "agents/engine/spec/schema.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::prep {
namespace {

using nlohmann::json;

class Prep : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) const { std::ofstream(folder_.path() / name) << text; }
  std::vector<std::string> lines(const std::string& name) const {
    std::vector<std::string> result;
    std::ifstream file(folder_.path() / name);
    for (std::string line; std::getline(file, line);) result.push_back(line);
    return result;
  }
  json report() const { return json::parse(base::read_file(folder_.path() / "report.json")); }

  int run(json spec) {
    spec["version"] = 1;
    spec["kind"] = "prep";
    spec::EventWriter events(folder_.path(), clock_);
    spec::EngineContext context{spec::parse_spec("prep", spec.dump()), folder_.path(), events, stop_};
    return run_prep(context);
  }
  base::Error refusal(const json& spec) {
    try {
      run(spec);
    } catch (const base::Error& error) {
      return error;
    }
    return base::Error("ACCEPTED", "");
  }
  // The count of a reason in the report.
  int64_t dropped(const std::string& reason) const {
    const json reasons = report()["dropped"];
    for (const json& entry : reasons) {
      if (entry["reason"] == reason) return entry["count"];
    }
    return 0;
  }
  static json pairs(const std::string& name) {
    return {{"inputs", {{{"path", name}, {"format", "prompt_completion"}}}}};
  }
  static std::string pair(const std::string& question, const std::string& answer) {
    return json({{"prompt", question}, {"completion", answer}}).dump() + "\n";
  }

  base::TemporaryFolder folder_;
  base::FakeClock clock_;
  std::atomic<bool> stop_{false};
};

TEST_F(Prep, DoesTheContractsJob) {
  std::string text;
  for (int i = 0; i < 40; ++i) {
    std::string answer;
    for (int word = 0; word < 12; ++word) answer += std::to_string((i + 1) * 7919 * (word + 3)) + " ";
    text += pair("Question number " + std::to_string(i) + "?", answer);
  }
  text += pair("Question number 3?", " \r\n" + std::to_string(4 * 7919 * 3) + " x");
  const std::string first = text.substr(0, text.find('\n') + 1);
  text += first;  // line 42: exact copy
  json near = json::parse(first);
  near["completion"] = near["completion"].get<std::string>() + "!";
  text += near.dump() + "\n";                         // line 43: all but
  text += pair("?", "short");                         // line 44
  text += pair("A question without an answer?", "");  // line 45
  write("raw.jsonl", text);
  json spec = json::parse(base::read_file(std::string(SLIPWAY_SOURCE_DIR) + "/tests/unit/spec/contracts/prep.json"));
  EXPECT_EQ(run(spec), 0);
  EXPECT_EQ(report()["rows"], json({{"read", 45}, {"kept", 41}, {"dropped", 4}}));
  EXPECT_EQ(dropped("duplicate"), 1);
  EXPECT_EQ(dropped("near_duplicate"), 1);
  EXPECT_EQ(dropped("too_short"), 1);
  EXPECT_EQ(dropped("empty"), 1);
  const json reasons = report()["dropped"];
  for (const json& entry : reasons) {
    if (entry["reason"] != "duplicate") continue;
    EXPECT_EQ(entry["examples"][0]["line"], 42);
    EXPECT_EQ(entry["examples"][0]["duplicate_of"], json({{"input", "raw.jsonl"}, {"line", 1}}));
  }
  EXPECT_EQ(lines("out/train.jsonl").size(), 37U);
  EXPECT_EQ(lines("out/validation.jsonl").size(), 4U);
  EXPECT_TRUE(json::parse(lines("out/train.jsonl")[0]).contains("messages"));
  EXPECT_EQ(report()["splits"]["validation"]["rows"], 4);
  std::set<std::string> left;
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path())) left.insert(entry.path().filename());
  EXPECT_EQ(left, (std::set<std::string>{"events.jsonl", "out", "raw.jsonl", "report.json"}));
}

TEST_F(Prep, TheSplitDoesNotDependOnTheOrderOfLines) {
  std::vector<std::string> rows;
  for (int i = 0; i < 50; ++i) rows.push_back(pair("q" + std::to_string(i), "a"));
  json spec = pairs("raw.jsonl");
  spec["split"] = {{"validation", 0.2}, {"seed", 5}};
  const auto held_out = [&] {
    std::string text;
    for (const std::string& row : rows) text += row;
    write("raw.jsonl", text);
    EXPECT_EQ(run(spec), 0);
    const auto found = lines("out/validation.jsonl");
    return std::set<std::string>(found.begin(), found.end());
  };
  const auto first = held_out();
  EXPECT_EQ(first.size(), 10U);
  std::reverse(rows.begin(), rows.end());
  EXPECT_EQ(held_out(), first);
  spec["split"]["seed"] = 6;
  EXPECT_NE(held_out(), first);
}

TEST_F(Prep, EqualRowsNeverLieOnBothSidesOfTheSplit) {
  std::string text;
  for (int i = 0; i < 20; ++i) text += pair("q" + std::to_string(i % 4), "a");
  write("raw.jsonl", text);
  json spec = pairs("raw.jsonl");
  spec["split"] = {{"validation", 0.3}};
  EXPECT_EQ(run(spec), 0);
  const auto train = lines("out/train.jsonl");
  ASSERT_FALSE(lines("out/validation.jsonl").empty());
  for (const std::string& row : lines("out/validation.jsonl"))
    EXPECT_EQ(std::count(train.begin(), train.end(), row), 0);
}

TEST_F(Prep, ASplitOfNothingLeavesNoValidationFileOfAnEarlierTry) {
  write("raw.jsonl", pair("a", "b") + pair("c", "d") + pair("e", "f"));
  json spec = pairs("raw.jsonl");
  spec["split"] = {{"validation", 0.3}};
  EXPECT_EQ(run(spec), 0);
  EXPECT_TRUE(std::filesystem::exists(folder_.path() / "out/validation.jsonl"));
  spec["split"] = {{"validation", 0}};
  EXPECT_EQ(run(spec), 0);
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "out/validation.jsonl"));
}

TEST_F(Prep, ABrokenLineIsNamedByFileAndNumber) {
  write("raw.jsonl", pair("a", "b") + "\n{\"prompt\": \"x\",\n" + pair("c", "d"));
  const base::Error error = refusal(pairs("raw.jsonl"));
  EXPECT_EQ(error.code(), base::kInvalidData);
  EXPECT_NE(std::string(error.what()).find("raw.jsonl line 3 is not JSON"), std::string::npos) << error.what();
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "out/train.jsonl"));
}

TEST_F(Prep, SkipGoesOnAndCounts) {
  write("raw.jsonl", pair("a", "b") + "{\n" + pair("c", "d") + "{\"prompt\":\"\xff\"}\n");
  json spec = pairs("raw.jsonl");
  spec["on_error"] = "skip";
  EXPECT_EQ(run(spec), 0);
  EXPECT_EQ(dropped("broken_row"), 2);
  EXPECT_EQ(lines("out/train.jsonl").size(), 2U);
}

TEST_F(Prep, RefusesAnEndlessLine) {
  write("raw.jsonl",
        "{\"prompt\":\"" + std::string((16U << 20U) + 1, 'x') + "\",\"completion\":\"y\"}\n" + pair("a", "b"));
  EXPECT_NE(std::string(refusal(pairs("raw.jsonl")).what()).find("line 1 is longer than 16 MiB"), std::string::npos);
}

TEST_F(Prep, RefusesWhatIsNoJsonl) {
  EXPECT_EQ(refusal(pairs("missing.jsonl")).code(), base::kNotFound);
  write("raw.jsonl", "[\n{}]");
  EXPECT_NE(std::string(refusal(pairs("raw.jsonl")).what()).find("one JSON list"), std::string::npos);
  write("raw.jsonl", "PAR1....");
  EXPECT_EQ(refusal(pairs("raw.jsonl")).code(), base::kUnsupported);
  write("raw.jsonl", "");
  EXPECT_EQ(refusal(pairs("raw.jsonl")).code(), base::kInvalidData);
  json text = pairs("raw.jsonl");
  text["inputs"][0]["format"] = "text";
  EXPECT_EQ(refusal(text).code(), base::kInvalidSpec);
}

TEST_F(Prep, AByteOrderMarkAndWindowsLinesAreNoHindrance) {
  write("raw.jsonl",
        "\xEF\xBB\xBF{\"prompt\":\"a\",\"completion\":\"b\"}\r\n\r\n{\"prompt\":\"c\",\"completion\":\"d\"}");
  EXPECT_EQ(run(pairs("raw.jsonl")), 0);
  EXPECT_EQ(lines("out/train.jsonl").size(), 2U);
}

TEST_F(Prep, StopsWhenAskedAndCanBeginAnew) {
  write("raw.jsonl", pair("a", "b"));
  stop_ = true;
  EXPECT_EQ(run(pairs("raw.jsonl")), spec::kExitStopped);
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "out/train.jsonl"));
  stop_ = false;
  EXPECT_EQ(run(pairs("raw.jsonl")), 0);
  EXPECT_EQ(lines("out/train.jsonl").size(), 1U);
}

TEST_F(Prep, TellsTheReasonWhenNoRowIsLeft) {
  write("raw.jsonl", pair("a", "b"));
  json spec = pairs("raw.jsonl");
  spec["operators"] = {{{"type", "filter_length"}, {"min_characters", 100}}};
  EXPECT_NE(std::string(refusal(spec).what()).find("1 too_short"), std::string::npos);
  EXPECT_EQ(dropped("too_short"), 1);
}

TEST_F(Prep, EachTaskHasItsOwnCopyOfATextAndAWrongTaskNamesItsLine) {
  const auto row = [](int task) {
    return json({{"prompt", "Is it good?"}, {"completion", "It is."}, {"task_id", task}}).dump() + "\n";
  };
  write("raw.jsonl", row(0) + row(1) + row(1));
  json spec = pairs("raw.jsonl");
  spec["num_tasks"] = 2;
  spec["operators"] = {{{"type", "dedup_exact"}}, {{"type", "dedup_near"}}};
  EXPECT_EQ(run(spec), 0);
  ASSERT_EQ(lines("out/train.jsonl").size(), 2U);
  EXPECT_EQ(json::parse(lines("out/train.jsonl")[1])["task_id"], 1);
  write("raw.jsonl", row(0) + row(2));
  const base::Error error = refusal(spec);
  EXPECT_NE(
      std::string(error.what()).find("raw.jsonl line 2 column \"task_id\" is 2; expected a whole number from 0 to 1"),
      std::string::npos)
      << error.what();
}

}  // namespace
}  // namespace slipway::prep
