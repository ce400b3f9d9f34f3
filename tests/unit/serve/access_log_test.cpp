#include "agents/engine/serve/access_log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace slipway::serve {
namespace {

TEST(AccessLine, SaysWhatHappenedInOneLine) {
  AccessRecord record;
  record.request_id = "r1";
  record.client = "127.0.0.1:5";
  record.method = "POST";
  record.path = "/v1/chat/completions";
  record.status = 200;
  record.bytes_sent = 77;
  record.seconds = 0.25;
  record.notes = {"smollm2", 12, 30, 0.0355, "stop"};
  EXPECT_EQ(
      access_line(record, 1'700'000'000'123),
      "2023-11-14T22:13:20.123Z request id=r1 client=127.0.0.1:5 method=POST path=/v1/chat/completions status=200 "
      "model=smollm2 prompt_tokens=12 completion_tokens=30 finish=stop ttft_ms=35.5 ms=250.0 bytes=77\n");
}

TEST(AccessLine, StrangersWriteNoLinesOfTheirOwn) {
  AccessRecord record;
  record.path = "/a\nrequest id=false status=200 " + std::string(1000, 'x');
  record.notes.model = "m status=200";
  record.client_left = true;
  const std::string line = access_line(record, 0);
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  EXPECT_NE(line.find("path=/a?request?id=false?status=200?xxx"), std::string::npos);
  EXPECT_NE(line.find("model=m?status=200"), std::string::npos);
  EXPECT_NE(line.find("client_left=true"), std::string::npos);
  EXPECT_LT(line.size(), 600U);
}

TEST(AccessLog, AReaderThatDoesNotReadLosesLinesAndHoldsNothingUp) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  AccessLog log(ends[1]);
  const std::string line = std::string(999, 'x') + "\n";
  for (int i = 0; i < 200; ++i) log.write(line);
  EXPECT_GT(log.lost(), 0);
  EXPECT_LT(log.lost(), 200);
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
}  // namespace slipway::serve
