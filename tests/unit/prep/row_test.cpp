#include "agents/engine/prep/row.h"

#include <gtest/gtest.h>

namespace slipway::prep {
namespace {

std::string as_messages(const std::string& line, Format format, const Mapping& mapping = {}) {
  return format_row(parse_row(line, format, mapping), Format::kMessages);
}

std::string fault(const std::string& line, Format format, const Mapping& mapping = {}) {
  try {
    parse_row(line, format, mapping);
  } catch (const RowFault& error) {
    return error.what();
  }
  return "accepted";
}

constexpr char kPair[] = R"({"messages":[{"role":"user","content":"Q"},{"role":"assistant","content":"A"}]})";

TEST(Row, EveryConversationFormatBecomesMessages) {
  const std::string expected = std::string(kPair) + "\n";
  EXPECT_EQ(as_messages(R"({"prompt":"Q","completion":"A"})", Format::kPromptCompletion), expected);
  EXPECT_EQ(as_messages(R"({"instruction":"Q","input":"","output":"A"})", Format::kAlpaca), expected);
  EXPECT_EQ(
      as_messages(R"({"conversations":[{"from":"human","value":"Q"},{"from":"gpt","value":"A"}]})", Format::kShareGpt),
      expected);
  EXPECT_EQ(as_messages(kPair, Format::kMessages), expected);
  EXPECT_EQ(
      as_messages(R"({"prompt":[{"role":"user","content":"Q"}],"completion":[{"role":"assistant","content":"A"}]})",
                  Format::kPromptCompletion),
      expected);
}

TEST(Row, MapsColumnsToRoles) {
  const Mapping mapping = {{"prompt", "question"}, {"completion", "answer"}};
  EXPECT_EQ(as_messages(R"({"question":"Q","answer":"A","prompt":"not this"})", Format::kPromptCompletion, mapping),
            std::string(kPair) + "\n");
  const std::string message = fault(R"({"quesstion":"Q","answer":"A"})", Format::kPromptCompletion, mapping);
  EXPECT_NE(message.find("has no column \"question\""), std::string::npos) << message;
  EXPECT_NE(message.find("did you mean \"quesstion\"?"), std::string::npos) << message;
}

TEST(Row, DottedColumnsLeadIntoNestedValues) {
  const Mapping mapping = {{"prompt", "item.question"}, {"completion", "item.answers.1"}};
  EXPECT_EQ(as_messages(R"({"item":{"question":"Q","answers":["no","A"]}})", Format::kPromptCompletion, mapping),
            std::string(kPair) + "\n");
  EXPECT_NE(
      fault(R"({"item":{"question":"Q","answers":[]}})", Format::kPromptCompletion, mapping).find("item.answers.1"),
      std::string::npos);
  EXPECT_EQ(as_messages(R"({"item.question":"Q","item":{"answers":{"1":"A"}}})", Format::kPromptCompletion, mapping),
            std::string(kPair) + "\n");
}

TEST(Row, KeepsTheTaskWhereThereAreTasks) {
  const auto kept = [](const std::string& line, int64_t tasks) {
    return format_row(parse_row(line, Format::kText, {}, tasks), Format::kText);
  };
  EXPECT_EQ(kept(R"({"text":"T","task_id":2})", 3), "{\"text\":\"T\",\"task_id\":2}\n");
  EXPECT_EQ(kept(R"({"text":"T"})", 1), "{\"text\":\"T\",\"task_id\":0}\n");
  EXPECT_EQ(kept(R"({"text":"T","task_id":"a name"})", 0), "{\"text\":\"T\"}\n");
  for (const char* task : {"3", "-1", "1.5", "\"1\"", "null"}) {
    EXPECT_THROW(kept(R"({"text":"T","task_id":)" + std::string(task) + "}", 3), RowFault) << task;
  }
  EXPECT_THROW(kept(R"({"text":"T"})", 3), RowFault);
}

TEST(Row, AlpacaInputFollowsTheInstruction) {
  const Row row = parse_row(R"({"instruction":"Sort","input":"b a","output":"a b"})", Format::kAlpaca, {});
  EXPECT_EQ(row.messages[0]["content"], "Sort\n\nb a");
}

TEST(Row, KeepsToolsAndSystemAndJoinsTextParts) {
  const std::string line = as_messages(
      R"({"messages":[{"role":"system","content":"S"},{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},{"role":"assistant","content":null,"tool_calls":[{"id":"1"}]}],"tools":[{"z":1,"a":2}]})",
      Format::kMessages);
  EXPECT_NE(line.find(R"("content":"ab")"), std::string::npos);
  EXPECT_NE(line.find(R"("tools":[{"z":1,"a":2}])"), std::string::npos);
  EXPECT_NE(line.find(R"("tool_calls":[{"id":"1"}])"), std::string::npos);
}

TEST(Row, PreferencePassesThroughWhenItIsWhole) {
  const std::string line = R"({"prompt":"Q","chosen":"good","rejected":"bad"})";
  EXPECT_EQ(format_row(parse_row(line, Format::kPreference, {}), Format::kPreference), line + "\n");
  EXPECT_NE(fault(R"({"prompt":"Q","chosen":"good"})", Format::kPreference).find("rejected"), std::string::npos);
  EXPECT_NE(fault(R"({"chosen":"good","rejected":[]})", Format::kPreference).find("both"), std::string::npos);
}

TEST(Row, SaysWhatIsWrongAndWhatWasExpected) {
  EXPECT_NE(fault("{\"prompt\": ", Format::kPromptCompletion).find("is not JSON at column"), std::string::npos);
  EXPECT_NE(fault("{\"prompt\": \"\xff\"}", Format::kPromptCompletion).find("UTF-8"), std::string::npos);
  EXPECT_NE(fault("[1]", Format::kText).find("is a list; expected one JSON object"), std::string::npos);
  EXPECT_NE(fault(R"({"text":7})", Format::kText).find("must be a text, not a number"), std::string::npos);
  EXPECT_NE(
      fault(R"({"messages":[{"role":"robot","content":"x"}]})", Format::kMessages).find("\"robot\"; expected system"),
      std::string::npos);
  EXPECT_NE(fault(R"({"messages":[{"role":"user"}]})", Format::kMessages).find("messages[0] has no \"content\""),
            std::string::npos);
  EXPECT_NE(fault(R"({"messages":[{"role":"user","content":[{"type":"image"}]}]})", Format::kMessages).find("not text"),
            std::string::npos);
  EXPECT_NE(
      fault("{\"text\":" + std::string(1000, '[') + std::string(1000, ']') + "}", Format::kText).find("levels deep"),
      std::string::npos);
  std::string wide = "{\"a\":1";
  for (int i = 0; i < 5000; ++i) wide += ",\"k" + std::to_string(i) + "\":1";
  EXPECT_NE(fault(wide + "}", Format::kText).find("fields"), std::string::npos);
}

TEST(Row, NothingCanBeLearnedFromSilence) {
  const auto useless = [](const std::string& line, Format format) { return parse_row(line, format, {}).useless(); };
  EXPECT_EQ(useless(kPair, Format::kMessages), "");
  EXPECT_EQ(useless(R"({"prompt":"Q","completion":" "})", Format::kPromptCompletion), "empty");
  EXPECT_EQ(useless(R"({"prompt":null,"completion":"A"})", Format::kPromptCompletion), "empty");
  EXPECT_EQ(useless(R"({"messages":[]})", Format::kMessages), "empty");
  EXPECT_EQ(useless(R"({"messages":[{"role":"user","content":"Q"}]})", Format::kMessages), "no_answer");
  EXPECT_EQ(useless(R"({"text":"\n"})", Format::kText), "empty");
}

TEST(Row, CountsCharactersNotBytes) {
  EXPECT_EQ(parse_row("{\"text\":\"n\xC3\xA4\xE2\x82\xAC\"}", Format::kText, {}).characters(), 3);
}

}  // namespace
}  // namespace slipway::prep
