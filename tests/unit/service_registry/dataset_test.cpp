#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "backend/base/status.h"
#include "backend/service/dataset_format.h"
#include "tests/unit/service_registry/registry_fixture.h"

namespace slipway::service {
namespace {

using absl::StatusCode;
using nlohmann::ordered_json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using testing::UnorderedElementsAre;

TEST(DatasetFormat, IsGuessedFromTheColumns) {
  const auto guess = [](const char* row) { return complete_mapping({}, ordered_json::parse(row)); };
  EXPECT_EQ(guess(R"({"messages":[{"role":"user","content":"a"}]})")->format, "messages");
  EXPECT_EQ(guess(R"({"conversations":[{"from":"human","value":"a"}]})")->format, "sharegpt");
  EXPECT_EQ(guess(R"({"instruction":"a","input":"","output":"b"})")->format, "alpaca");
  EXPECT_EQ(guess(R"({"chosen":"a","rejected":"b"})")->format, "preference");
  EXPECT_EQ(guess(R"({"id":1,"text":"a"})")->format, "text");
  const auto question = guess(R"({"id":"1","question":"a","answer":"b"})");
  EXPECT_EQ(question->format, "prompt_completion");
  EXPECT_THAT(question->roles, UnorderedElementsAre(Pair("prompt", "question"), Pair("completion", "answer")));
  const auto unknown = guess(R"({"foo":"a","bar":"b"})");
  EXPECT_EQ(unknown.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(unknown.status().message()), HasSubstr("foo, bar"));
}

TEST(DatasetFormat, WhatIsGivenIsKeptAndChecked) {
  const ordered_json row = ordered_json::parse(R"({"q":"a","answer":"b","text":"c"})");
  const auto mapping = complete_mapping({"prompt_completion", {{"prompt", "q"}}}, row);
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  EXPECT_THAT(mapping->roles, UnorderedElementsAre(Pair("prompt", "q"), Pair("completion", "answer")));
  EXPECT_EQ(complete_mapping({"", {{"prompt", "q"}}}, row)->format, "prompt_completion");
  EXPECT_EQ(base::detail_of(complete_mapping({"poem", {}}, row).status()).field, "mapping.format");
  EXPECT_EQ(base::detail_of(complete_mapping({"text", {{"prompt", "q"}}}, row).status()).field, "mapping.roles.prompt");
  EXPECT_EQ(base::detail_of(complete_mapping({"messages", {}}, row).status()).field, "mapping.roles");
}

class DatasetTest : public RegistryFixture {};

TEST_F(DatasetTest, EveryRowIsCheckedAndABrokenOneNamesItsLine) {
  const auto refuse = [&](const std::string& content) {
    const auto version = datasets_.import("d", put({{"d.jsonl", content}}), {}, "");
    EXPECT_EQ(version.status().code(), StatusCode::kInvalidArgument) << content.substr(0, 50);
    return std::string(version.status().message());
  };
  const std::string good = R"({"prompt":"a","completion":"b"})";
  EXPECT_THAT(refuse(good + "\n" + good + "\n{\"prompt\":\n"), HasSubstr("line 3"));
  EXPECT_THAT(refuse(good + "\n[1]\n"), HasSubstr("line 2"));
  EXPECT_THAT(refuse(good + "\n\n{\"prompt\":\"a\"}"), HasSubstr("line 3"));
  EXPECT_THAT(refuse(good + "\n{\"prompt\":\"\xff\",\"completion\":\"b\"}"), HasSubstr("line 2"));
  refuse("");
  refuse("\n\n");
  refuse("PAR1abc");
  EXPECT_EQ(datasets_.list({})->total, 0);
  EXPECT_EQ(base::detail_of(datasets_.import("d", put({{"a.jsonl", good}, {"b.jsonl", good}}), {}, "").status()).reason,
            "NOT_A_DATASET");
}

TEST_F(DatasetTest, VersionsAreImmutableAndNumbered) {
  const std::string one = R"({"question":"a","answer":"b"})";
  const auto first = datasets_.import("faq", put({{"faq.jsonl", one + "\n"}}), {}, "from perlfaq");
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->label(), "faq@1");
  EXPECT_EQ(first->row_count, 1);
  const auto same = datasets_.import("faq", first->artifact_id, {}, "");
  EXPECT_EQ(same->id, first->id);
  const auto second = datasets_.import("FAQ", put({{"faq.jsonl", one + "\n" + one + "\n"}}), {}, "");
  EXPECT_EQ(second->label(), "faq@2");
  EXPECT_EQ(datasets_.get("faq")->version_count, 2);
  EXPECT_EQ(datasets_.get_version("faq")->id, second->id);
  EXPECT_EQ(datasets_.get_version("faq@1")->row_count, 1);
  ASSERT_TRUE(datasets_.remove("faq").ok());
  EXPECT_EQ(datasets_.get("faq").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(store_.get(first->artifact_id).status().code(), StatusCode::kNotFound);
}

TEST_F(DatasetTest, APreviewShowsWhatTheModelWouldSeeAndLearn) {
  import_smollm2();
  const std::string rows =
      "{\"question\":\"Why — \xF0\x9F\x90\xAA?\",\"answer\":\"Because.\"}\n{\"question\":5,\"answer\":\"x\"}\n";
  PreviewRequest request;
  request.artifact_id = put({{"faq.jsonl", rows}});
  request.model_version_id = "SmolLM2-135M-Instruct";
  const auto preview = datasets_.preview(request);
  ASSERT_TRUE(preview.ok()) << preview.status();
  EXPECT_THAT(preview->columns, ElementsAre("question", "answer"));
  EXPECT_EQ(preview->row_count, 2);
  ASSERT_EQ(preview->rows.size(), 2U);
  const PreviewRow& row = preview->rows[0];
  EXPECT_THAT(row.rendered, HasSubstr("<|im_start|>user\nWhy — \xF0\x9F\x90\xAA?<|im_end|>"));
  std::string all;
  std::string trained;
  for (const PreviewToken& token : row.tokens) {
    all += token.text;
    if (token.trained) trained += token.text;
  }
  EXPECT_EQ(all, row.rendered);
  EXPECT_EQ(trained, "Because.<|im_end|>");
  ASSERT_EQ(row.messages.size(), 2U);
  EXPECT_EQ(row.messages[1].content, "Because.");
  EXPECT_THAT(preview->rows[1].problem, HasSubstr("question"));
  EXPECT_TRUE(preview->rows[1].tokens.empty());
}

TEST_F(DatasetTest, WhatNothingNamesIsCollectedAndTheRestStays) {
  const auto kept = datasets_.import("faq", put({{"faq.jsonl", R"({"text":"a"})"}}), {}, "");
  ASSERT_TRUE(kept.ok()) << kept.status();
  const std::string refused = put({{"broken.jsonl", "{"}});
  EXPECT_FALSE(datasets_.import("broken", refused, {}, "").ok());
  EXPECT_TRUE(store_.list_older_than(60'000).empty());
  const auto all = store_.list_older_than(-60'000);
  EXPECT_EQ(all.size(), 2U);
  remove_unused_artifacts(*database_, store_, all);
  EXPECT_TRUE(store_.get(kept->artifact_id).ok());
  EXPECT_EQ(store_.get(refused).status().code(), StatusCode::kNotFound);
}

TEST_F(DatasetTest, APreviewPagesAndSaysWhatIsWrongWithTheMapping) {
  std::string rows;
  for (int i = 0; i < 20; ++i) rows += "{\"foo\":\"" + std::to_string(i) + "\"}\n";
  PreviewRequest request;
  request.artifact_id = put({{"d.jsonl", rows}});
  request.rows = 3;
  request.offset = 18;
  const auto preview = datasets_.preview(request);
  ASSERT_TRUE(preview.ok()) << preview.status();
  EXPECT_EQ(preview->row_count, 20);
  ASSERT_EQ(preview->rows.size(), 2U);
  EXPECT_EQ(preview->rows[0].json, "{\"foo\":\"18\"}");
  EXPECT_EQ(preview->problems.size(), 1U);
  request.mapping = {"text", {{"text", "foo"}}};
  EXPECT_TRUE(datasets_.preview(request)->problems.empty());
  request.rows = 101;
  EXPECT_EQ(datasets_.preview(request).status().code(), StatusCode::kInvalidArgument);
  request.rows = 1;
  request.model_version_id = "nothing";
  EXPECT_EQ(datasets_.preview(request).status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace slipway::service
