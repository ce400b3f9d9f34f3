#include "agents/engine/serve/stop_matcher.h"

#include <gtest/gtest.h>

namespace slipway::serve {
namespace {

TEST(StopMatcher, HoldsBackWhatMayBecomeAStopString) {
  StopMatcher matcher({"END", "\n\n"}, false);
  EXPECT_EQ(matcher.push("one E"), "one ");
  EXPECT_EQ(matcher.push("N"), "");
  EXPECT_EQ(matcher.push("X\n"), "ENX");
  EXPECT_EQ(matcher.push("\nrest"), "");
  EXPECT_TRUE(matcher.stopped());
  EXPECT_EQ(matcher.flush(), "");
}

TEST(StopMatcher, NothingLeaksWhereverTheTextIsCut) {
  const std::string text = "abcabcabd, then more";
  for (size_t a = 0; a <= text.size(); ++a) {
    for (size_t b = a; b <= text.size(); ++b) {
      StopMatcher matcher({"abcabd", "then"}, false);
      std::string out = matcher.push(text.substr(0, a));
      out += matcher.push(text.substr(a, b - a));
      out += matcher.push(text.substr(b));
      out += matcher.flush();
      EXPECT_EQ(out, "abc") << a << " " << b;
      EXPECT_TRUE(matcher.stopped());
    }
  }
}

TEST(StopMatcher, TakesTheFirstOfSeveral) {
  StopMatcher matcher({"world", "lo"}, false);
  EXPECT_EQ(matcher.push("hello world"), "hel");
}

TEST(StopMatcher, CanIncludeTheStopString) {
  StopMatcher matcher({"lo"}, true);
  EXPECT_EQ(matcher.push("hello world"), "hello");
}

TEST(StopMatcher, LetsTheRestOutAtTheEnd) {
  StopMatcher matcher({"END"}, false);
  EXPECT_EQ(matcher.push("the EN"), "the ");
  EXPECT_EQ(matcher.flush(), "EN");
}

TEST(StopMatcher, WithoutStopsHoldsNothing) {
  StopMatcher matcher({}, false);
  EXPECT_EQ(matcher.push("text"), "text");
}

TEST(StopMatcher, PassesWithoutLooking) {
  StopMatcher matcher({"END"}, false);
  EXPECT_EQ(matcher.pass("END"), "END");
  EXPECT_FALSE(matcher.stopped());
}

}  // namespace
}  // namespace slipway::serve
