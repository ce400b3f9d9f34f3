#include "agents/engine/train/parallel/meeting.h"

#include <gtest/gtest.h>

#include "backend/base/error.h"

namespace slipway::train {
namespace {

using std::chrono::seconds;

TEST(Silence, ARankThatNoLongerCountsIsSilentAfterTheLimit) {
  Silence silence(2);
  const Silence::Time begin;
  EXPECT_FALSE(silence.look({"1", "1"}, begin, seconds(10)));
  EXPECT_FALSE(silence.look({"2", "1"}, begin + seconds(9), seconds(10)));
  EXPECT_EQ(silence.look({"3", "1"}, begin + seconds(11), seconds(10)), 1);
}

TEST(Silence, ARankThatHasNotBegunHasAsLong) {
  Silence silence(1);
  const Silence::Time begin;
  EXPECT_FALSE(silence.look({"-"}, begin + seconds(100), seconds(10)));
  EXPECT_FALSE(silence.look({"1"}, begin + seconds(109), seconds(10)));
  EXPECT_FALSE(silence.look({"1"}, begin + seconds(118), seconds(10)));
  EXPECT_EQ(silence.look({"1"}, begin + seconds(120), seconds(10)), 0);
}

TEST(Meeting, RanksTellEachOtherThings) {
  Meeting host("127.0.0.1", 0, true, 2, {});
  Meeting guest("127.0.0.1", host.port(), false, 2, {});
  EXPECT_EQ(guest.look("word"), std::nullopt);
  host.set("word", "keel");
  EXPECT_EQ(guest.get("word", seconds(5)), "keel");
  guest.begin_beating(1);
  guest.say_lost(0);
  host.say_lost(1);  // too late
  EXPECT_EQ(host.lost_rank(), 0);
}

TEST(Meeting, AHostThatIsGoneIsALostRank) {
  auto host = std::make_unique<Meeting>("127.0.0.1", 0, true, 2, "");
  Meeting guest("127.0.0.1", host->port(), false, 2, {});
  host.reset();
  try {
    guest.set("word", "keel");
    guest.get("word", seconds(1));
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.code(), "RANK_LOST");
  }
}

}  // namespace
}  // namespace slipway::train
