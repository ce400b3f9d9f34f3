// The stream of a chat completion, in pieces of any size.
#include "app/cli/chat.h"

#include <gtest/gtest.h>

namespace slipway::cli {
namespace {

const std::string kStream =
    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n"
    ": a comment\r\n"
    "data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\r\n\r\n"
    "data:{\"choices\":[{\"delta\":{\"content\":\"lo €\"},\"finish_reason\":null}]}\n\n"
    "data: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\ndata: [DONE]\n\n";

TEST(ChatStream, JoinsPiecesHoweverTheyAreCut) {
  for (size_t size = 1; size < kStream.size(); size += 7) {
    std::string heard;
    ChatStream stream([&](const std::string& piece) { heard += piece; });
    for (size_t at = 0; at < kStream.size(); at += size) stream.feed(kStream.substr(at, size));
    EXPECT_EQ(stream.text(), "Hello €");
    EXPECT_EQ(heard, "Hello €");
    EXPECT_EQ(stream.error(), "");
  }
}

TEST(ChatStream, PassesOverWhatIsNoChunkAndKeepsErrors) {
  ChatStream stream([](const std::string&) {});
  stream.feed("data: nonsense\ndata: []\ndata: {\"choices\":\"x\"}\ndata: {\"choices\":[{\"delta\":null}]}\ndata:\n");
  EXPECT_EQ(stream.text(), "");
  stream.feed("data: {\"error\":{\"message\":\"out of memory\"}}\n");
  EXPECT_EQ(stream.error(), "out of memory");
}

TEST(ChatStream, ReadsErrorBodies) {
  EXPECT_EQ(error_message_of("{\"error\":{\"message\":\"no such model\"}}"), "no such model");
  EXPECT_EQ(error_message_of("Bad gateway"), "Bad gateway");
}

TEST(Chat, SaysWhichAddressDoesNotAnswer) {
  // Port 9 (discard) is closed on any machine that this runs on.
  ChatRequest request;
  request.web_url = "http://127.0.0.1:9";
  request.model = "m";
  try {
    stream_chat(request, [](const std::string&) {});
    FAIL();
  } catch (const std::exception& error) {
    EXPECT_NE(std::string(error.what()).find("127.0.0.1:9"), std::string::npos);
  }
}

}  // namespace
}  // namespace slipway::cli
