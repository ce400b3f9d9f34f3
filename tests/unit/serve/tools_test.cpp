#include "agents/engine/serve/tools.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agents/engine/serve/api_error.h"
#include "agents/engine/serve/tool_parser.h"

namespace slipway::serve {
namespace {

using nlohmann::ordered_json;
using testing::HasSubstr;

constexpr char kTools[] = R"("tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object"}}},
                                      {"type":"function","function":{"name":"time"}}])";

Tools tools_of(const std::string& fields) {
  const ordered_json body = ordered_json::parse("{" + fields + "}");
  return parse_tools(JsonFields(body));
}

ApiError refusal(const std::string& fields) {
  try {
    tools_of(fields);
  } catch (const ApiError& error) {
    return error;
  }
  return ApiError(0, "accepted");
}

TEST(Tools, AreReadWithTheirChoice) {
  const std::string with = std::string(kTools) + ",";
  EXPECT_FALSE(tools_of("").active());
  EXPECT_EQ(tools_of(kTools).choice, ToolChoice::kAuto);
  EXPECT_TRUE(tools_of(kTools).active());
  EXPECT_FALSE(tools_of(with + R"("tool_choice":"none")").active());
  EXPECT_EQ(tools_of(with + R"("tool_choice":"required")").choice, ToolChoice::kRequired);
  const Tools named = tools_of(with + R"("tool_choice":{"type":"function","function":{"name":"time"}})");
  EXPECT_EQ(named.choice, ToolChoice::kNamed);
  EXPECT_EQ(named.name, "time");
  EXPECT_FALSE(tools_of(with + R"("parallel_tool_calls":false)").parallel);
}

TEST(Tools, WrongOnesAreNamed) {
  EXPECT_EQ(refusal(R"("tools":{})").param, "tools");
  EXPECT_EQ(refusal(R"("tools":[{"type":"retrieval"}])").param, "tools[0].type");
  EXPECT_EQ(refusal(R"("tools":[{"type":"function","function":{"name":"a b"}}])").param, "tools[0].function.name");
  EXPECT_EQ(refusal(R"("tools":[{"type":"function","function":{"name":"a","parameters":[]}}])").param,
            "tools[0].function.parameters");
  EXPECT_EQ(
      refusal(R"("tools":[{"type":"function","function":{"name":"a"}},{"type":"function","function":{"name":"a"}}])")
          .param,
      "tools[1].function.name");
  EXPECT_EQ(refusal(R"("tool_choice":"required")").param, "tool_choice");
  EXPECT_EQ(refusal(std::string(kTools) + R"(,"tool_choice":"sometimes")").param, "tool_choice");
  EXPECT_EQ(refusal(std::string(kTools) + R"(,"tool_choice":{"type":"function","function":{"name":"x"}})").param,
            "tool_choice");
}

TEST(Tools, TheTemplateSaysHowCallsAreWritten) {
  EXPECT_EQ(tool_format("{%- if tools %}<tool_call>"), ToolFormat::kHermes);
  EXPECT_EQ(tool_format("[TOOL_CALLS] {{ tools }}"), ToolFormat::kMistralList);
  EXPECT_EQ(tool_format("[TOOL_CALLS]{{ name }}[ARGS]"), ToolFormat::kMistralArgs);
  EXPECT_EQ(tool_format("<|python_tag|> {\"name\": function name, \"parameters\": "), ToolFormat::kLlama);
  EXPECT_EQ(tool_format("nothing of the kind"), ToolFormat::kHermes);
}

TEST(Tools, AGrammarIsOnlyMadeWhereOneIsAskedFor) {
  Tools tools = tools_of(kTools);
  EXPECT_FALSE(tool_grammar(tools, ToolFormat::kHermes, std::nullopt));
  tools.choice = ToolChoice::kRequired;
  const auto required = ordered_json::parse(tool_grammar(tools, ToolFormat::kHermes, std::nullopt)->text)["format"];
  EXPECT_EQ(required["tags"].size(), 2U);
  EXPECT_EQ(required["tags"][0]["begin"], "<tool_call>\n{\"name\": \"weather\", \"arguments\": ");
  EXPECT_EQ(required["at_least_one"], true);
  tools.choice = ToolChoice::kNamed;
  tools.name = "time";
  const auto named = ordered_json::parse(tool_grammar(tools, ToolFormat::kLlama, std::nullopt)->text)["format"];
  ASSERT_EQ(named["tags"].size(), 1U);
  EXPECT_EQ(named["tags"][0]["begin"], "{\"name\": \"time\", \"parameters\": ");
  EXPECT_EQ(named["stop_after_first"], true);
  tools.choice = ToolChoice::kAuto;
  const OutputFormat schema{runtime::GrammarKind::kJsonSchema, "{\"type\":\"array\"}", "response_format"};
  const auto either = ordered_json::parse(tool_grammar(tools, ToolFormat::kMistralList, schema)->text)["format"];
  EXPECT_EQ(either["type"], "or");
  EXPECT_EQ(either["elements"][0]["json_schema"]["type"], "array");
}

struct Answer {
  std::string content;
  std::vector<std::pair<std::string, std::string>> calls;  // name, arguments
  bool operator==(const Answer&) const = default;
};

Answer read(ToolFormat format, const std::string& text, size_t piece) {
  ToolParser parser(format);
  Answer answer;
  std::vector<ToolCallDelta> deltas;
  for (size_t i = 0; i < text.size(); i += piece) parser.push(text.substr(i, piece), answer.content, deltas);
  parser.finish(answer.content, deltas);
  for (const ToolCallDelta& delta : deltas) {
    if (!delta.id.empty()) {
      EXPECT_EQ(delta.index, static_cast<int64_t>(answer.calls.size()));
      answer.calls.emplace_back(delta.name, "");
    }
    EXPECT_FALSE(answer.calls.empty());
    answer.calls.back().second += delta.arguments;
  }
  return answer;
}

// However the text is cut.
Answer read(ToolFormat format, const std::string& text) {
  const Answer whole = read(format, text, text.size() + 1);
  for (const size_t piece : {1, 2, 3, 7}) EXPECT_EQ(read(format, text, piece), whole) << text << " by " << piece;
  return whole;
}

TEST(ToolParser, ReadsHermesCalls) {
  const Answer one = read(ToolFormat::kHermes,
                          "Let me see.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome }\\\"\", "
                          "\"days\": [1, {\"a\": 2}]}}\n</tool_call>");
  EXPECT_EQ(one.content, "Let me see.");
  EXPECT_EQ(one.calls, (decltype(one.calls){{"weather", "{\"city\": \"Rome }\\\"\", \"days\": [1, {\"a\": 2}]}"}}));
  const Answer two =
      read(ToolFormat::kHermes,
           "<tool_call>{\"arguments\":{\"x\":1},\"name\":\"a\"}</tool_call>\n<tool_call>\n{\"name\":\"b\"}"
           "\n</tool_call>\nDone.");
  EXPECT_EQ(two.calls, (decltype(two.calls){{"a", "{\"x\":1}"}, {"b", "{}"}}));
  EXPECT_EQ(two.content, "\nDone.");
}

TEST(ToolParser, WhatIsNoCallStaysText) {
  for (const char* text : {"a < b and <tool_calls>", "<tool_call>not json</tool_call>", "<tool_call>{\"name\": 1{}}",
                           "<tool_call>{\"n\": 1}</tool_call>", "<tool_call>{\"name\": \"cut", "plain",
                           "ends with <tool_", "  spaced  "}) {
    const Answer answer = read(ToolFormat::kHermes, text);
    EXPECT_TRUE(answer.calls.empty()) << text;
    EXPECT_EQ(answer.content, text);
  }
}

TEST(ToolParser, ACallThatIsCutOffKeepsWhatCame) {
  const Answer answer = read(ToolFormat::kHermes, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"long te");
  EXPECT_EQ(answer.calls, (decltype(answer.calls){{"f", "{\"a\": \"long te"}}));
  EXPECT_EQ(answer.content, "");
}

TEST(ToolParser, ArgumentsMayBeATextThatHoldsJson) {
  const Answer answer = read(ToolFormat::kHermes, R"(<tool_call>{"name":"f","arguments":"{\"a\": 1}"}</tool_call>)");
  EXPECT_EQ(answer.calls, (decltype(answer.calls){{"f", "{\"a\": 1}"}}));
  EXPECT_EQ(read(ToolFormat::kHermes, R"(<tool_call>{"name":"f","arguments":null}</tool_call>)").calls,
            (decltype(answer.calls){{"f", "{}"}}));
}

TEST(ToolParser, ReadsLlamaCalls) {
  const Answer bare = read(ToolFormat::kLlama, "\n{\"name\": \"f\", \"parameters\": {\"q\": \"x\"}}");
  EXPECT_EQ(bare.calls, (decltype(bare.calls){{"f", "{\"q\": \"x\"}"}}));
  EXPECT_EQ(bare.content, "");
  const Answer two = read(ToolFormat::kLlama,
                          "<|python_tag|>{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"g\", \"parameters\": {}}");
  EXPECT_EQ(two.calls, (decltype(two.calls){{"f", "{}"}, {"g", "{}"}}));
  // JSON that the user asked for is no call, nor is JSON further on.
  for (const char* text :
       {"{\"name\": \"Ann\", \"age\": 3}", "{\"age\": 3}", "{oops}", "So: {\"name\": \"f\", \"parameters\": {}}"}) {
    EXPECT_EQ(read(ToolFormat::kLlama, text), (Answer{text, {}})) << text;
  }
}

TEST(ToolParser, ReadsBothOfMistralsForms) {
  const std::vector<std::pair<std::string, std::string>> expected = {{"f", "{\"a\": [1]}"}, {"g", "{}"}};
  EXPECT_EQ(read(ToolFormat::kMistralList,
                 "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": [1]}}, {\"name\": \"g\", \"arguments\": {}}]")
                .calls,
            expected);
  for (const char* text : {"[TOOL_CALLS]f[ARGS]{\"a\": [1]}[TOOL_CALLS]g[ARGS]{}",
                           "[TOOL_CALLS]f[CALL_ID]abc[ARGS]{\"a\": [1]}[TOOL_CALLS]g{}",
                           "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": [1]}}][TOOL_CALLS]g[ARGS]{}"}) {
    EXPECT_EQ(read(ToolFormat::kMistralArgs, text).calls, expected) << text;
  }
  EXPECT_EQ(read(ToolFormat::kMistralArgs, "[TOOL_CALLS]never ends").content, "[TOOL_CALLS]never ends");
}

}  // namespace
}  // namespace slipway::serve
