#include "agents/engine/prep/normalize.h"

#include <gtest/gtest.h>

namespace slipway::prep {
namespace {

TEST(NormalizeText, ComposesUnicode) {
  EXPECT_EQ(normalize_text("a\xCC\x88", UnicodeForm::kNfc), "\xC3\xA4");
  EXPECT_EQ(normalize_text("\xEF\xAC\x81", UnicodeForm::kNfc), "\xEF\xAC\x81");  // the ligature fi
  EXPECT_EQ(normalize_text("\xEF\xAC\x81", UnicodeForm::kNfkc), "fi");
  EXPECT_EQ(normalize_text("a\xCC\x88", UnicodeForm::kNone), "a\xCC\x88");
}

TEST(NormalizeText, TidiesLinesAndKeepsIndentation) {
  EXPECT_EQ(normalize_text("a\r\nb\rc\n", UnicodeForm::kNfc), "a\nb\nc");
  EXPECT_EQ(normalize_text("\n\n  if x:  \n\n\n\n    y\t\n\n", UnicodeForm::kNfc), "  if x:\n\n    y");
  EXPECT_EQ(normalize_text("\xEF\xBB\xBF"
                           "a\x01"
                           "b\tc",
                           UnicodeForm::kNfc),
            "ab\tc");
  EXPECT_EQ(normalize_text(" \n\t ", UnicodeForm::kNfc), "");
}

TEST(NormalizeText, IsStable) {
  const std::string once = normalize_text("\r\n x \xE2\x80\xA8\xE2\x80\xA8\n e\xCC\x81 \n", UnicodeForm::kNfc);
  EXPECT_EQ(normalize_text(once, UnicodeForm::kNfc), once);
}

TEST(Keys, IgnoreWhatTheyShould) {
  EXPECT_EQ(exact_key(" a\n\n b\xC2\xA0"
                      "c "),
            "a b c");
  EXPECT_NE(exact_key("A"), exact_key("a"));
  EXPECT_EQ(near_key("Hello,  World!\n"), "hello world");
  EXPECT_EQ(near_key("STRASSE"), near_key("stra\xC3\x9F"
                                          "e"));
}

}  // namespace
}  // namespace slipway::prep
