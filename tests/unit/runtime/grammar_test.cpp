#include "agents/engine/runtime/grammar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "agents/engine/runtime/choice_grammar.h"
#include "backend/base/error.h"

namespace slipway::runtime {
namespace {

using testing::HasSubstr;

constexpr int32_t kStop = 256;

// One token per byte, and an end token.
GrammarVocabulary byte_vocabulary() {
  GrammarVocabulary vocabulary;
  for (int byte = 0; byte < 256; ++byte) vocabulary.tokens.emplace_back(1, static_cast<char>(byte));
  vocabulary.tokens.emplace_back();
  vocabulary.size = 300;  // models have rows beyond their tokenizer
  vocabulary.stop_tokens = {kStop};
  return vocabulary;
}

class GrammarTest : public testing::Test {
 protected:
  // What a model says that chooses at random among what the constraint allows, ending when it may.
  static std::string babble(TokenConstraint& constraint, uint32_t seed, size_t most = 4000) {
    std::mt19937 random(seed);
    std::string text;
    while (text.size() < most) {
      std::vector<int32_t> mask(10, 0x55);
      EXPECT_TRUE(constraint.fill_mask(mask));
      std::vector<int32_t> allowed;
      for (int32_t token = 0; token < 300; ++token) {
        if (static_cast<uint32_t>(mask[static_cast<size_t>(token / 32)]) >> (token % 32) & 1U) allowed.push_back(token);
      }
      EXPECT_FALSE(allowed.empty());
      EXPECT_LE(allowed.back(), kStop);
      const bool may_end = allowed.back() == kStop;
      // Printable characters, so that strings end some time.
      int32_t token = may_end ? kStop : allowed[random() % allowed.size()];
      if (!may_end && std::find(allowed.begin(), allowed.end(), '"') != allowed.end() && random() % 4 == 0) token = '"';
      EXPECT_TRUE(constraint.accept(token));
      if (token == kStop) break;
      text += static_cast<char>(token);
    }
    EXPECT_TRUE(constraint.complete());
    return text;
  }

  GrammarCompiler compiler_{{std::string(SLIPWAY_BINARY_DIR) + "/bin"}, byte_vocabulary};
};

TEST_F(GrammarTest, ASchemaIsFollowed) {
  const std::string schema = R"({"type":"object","properties":{"name":{"enum":["ann","bob"]},"age":{"type":"integer",
      "minimum":0,"maximum":99}},"required":["name","age"],"additionalProperties":false})";
  for (uint32_t seed = 0; seed < 8; ++seed) {
    const auto value = nlohmann::json::parse(babble(*compiler_.compile(GrammarKind::kJsonSchema, schema), seed));
    EXPECT_EQ(value.size(), 2U);
    EXPECT_TRUE(value["name"] == "ann" || value["name"] == "bob");
    EXPECT_GE(value["age"].get<int>(), 0);
    EXPECT_LE(value["age"].get<int>(), 99);
  }
}

TEST_F(GrammarTest, ARegularExpressionIsFollowed) {
  for (uint32_t seed = 0; seed < 8; ++seed) {
    const std::string text = babble(*compiler_.compile(GrammarKind::kRegex, "[a-c]{2}-[0-9]+x"), seed);
    EXPECT_THAT(text, testing::MatchesRegex("[a-c][a-c]-[0-9]+x"));
  }
}

TEST_F(GrammarTest, AChoiceMayHoldAnyText) {
  const std::vector<std::string> choices = {"yes", "a \"quoted\" \\ one", "line\nbreak", "na\xC3\xAFve"};
  for (uint32_t seed = 0; seed < 8; ++seed) {
    const auto constraint = compiler_.compile(GrammarKind::kEbnf, choice_grammar(choices));
    EXPECT_THAT(choices, testing::Contains(babble(*constraint, seed)));
  }
}

TEST_F(GrammarTest, ATokenThatIsNotAllowedIsRefused) {
  const auto constraint = compiler_.compile(GrammarKind::kEbnf, "root ::= \"ab\"");
  EXPECT_FALSE(constraint->accept('b'));
  EXPECT_TRUE(constraint->accept('a'));
  EXPECT_FALSE(constraint->accept(kStop));
  EXPECT_TRUE(constraint->accept('b'));
  EXPECT_FALSE(constraint->complete());
  EXPECT_TRUE(constraint->accept(kStop));
  EXPECT_TRUE(constraint->complete());
}

TEST_F(GrammarTest, AWrongGrammarIsRefusedWithTheReason) {
  const auto refusal = [&](GrammarKind kind, const std::string& text) {
    try {
      compiler_.compile(kind, text);
      return std::string();
    } catch (const base::Error& error) {
      return error.code() + " " + error.what();
    }
  };
  for (const auto& [kind, text] :
       std::vector<std::pair<GrammarKind, std::string>>{{GrammarKind::kJsonSchema, "{"},
                                                        {GrammarKind::kJsonSchema, R"({"type":"nothing"})"},
                                                        {GrammarKind::kRegex, "("},
                                                        {GrammarKind::kEbnf, "root = oops"},
                                                        {GrammarKind::kStructuralTag, "{}"}}) {
    EXPECT_THAT(refusal(kind, text), testing::StartsWith("INVALID_REQUEST ")) << text;
    EXPECT_THAT(refusal(kind, text), testing::Not(HasSubstr("Traceback"))) << text;
  }
}

TEST_F(GrammarTest, WithoutTheLibraryItSaysWhatIsMissing) {
  GrammarCompiler compiler({"/nowhere"}, byte_vocabulary);
  for (int round = 0; round < 2; ++round) {
    try {
      compiler.compile(GrammarKind::kRegex, "a");
      FAIL();
    } catch (const base::Error& error) {
      EXPECT_EQ(error.code(), base::kUnsupported);
      EXPECT_THAT(error.what(), HasSubstr("libslipway_grammar.so is not in /nowhere"));
    }
  }
}

}  // namespace
}  // namespace slipway::runtime
