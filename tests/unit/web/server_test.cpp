#include "backend/web/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "tests/unit/web/http_client.h"

namespace slipway::web {
namespace {

using testing::HasSubstr;

// Answers with what it is told to do per path.
class TestSite final : public Handler {
 public:
  void handle(const ExchangePointer& exchange) override {
    const std::string& path = exchange->head().path;
    if (path == "/echo") {
      exchange->read_body(1000, [exchange](std::string body) {
        exchange->respond({200, {{"Content-Type", "text/plain"}}, std::move(body)});
      });
    } else if (path == "/discard") {
      exchange->read_body(1 << 20, [exchange](const std::string& body) {
        exchange->respond({200, {}, std::to_string(body.size())});
      });
    } else if (path == "/stream") {
      exchange->begin(200, {}, -1);
      exchange->write("one", [exchange] { exchange->write("two", [exchange] { exchange->end(); }); });
    } else if (path == "/cut") {
      exchange->begin(200, {}, -1);
      exchange->write("half", [exchange] { exchange->abort(); });
    } else if (path == "/wait") {
      exchange->on_closed([this] { left.set_value(); });
      arrived.set_value();
    } else if (path == "/throw") {
      throw std::runtime_error("a handler's own trouble");
    } else {
      exchange->respond({200,
                         {{"X-Evil", "a\r\nSet-Cookie: b"}},
                         exchange->head().method + " " + path + "?" + exchange->head().query});
    }
  }
  std::promise<void> arrived;
  std::promise<void> left;
};

class ServerTest : public testing::Test {
 protected:
  ServerTest() : server_(*WebServer::listen({"127.0.0.1:0", "", ""})) {
    server_->start(site_, [this](const RequestHead&, int status, int64_t) { last_status_ = status; });
  }
  Reply get(const std::string& target) { return fetch(server_->port(), "GET", target); }

  TestSite site_;
  std::atomic<int> last_status_ = 0;
  std::unique_ptr<WebServer> server_;
};

TEST_F(ServerTest, ServesSeveralRequestsOnOneConnectionInOrder) {
  HttpClient client(server_->port());
  client.send(
      "GET /a?x=1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET /c "
      "HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_EQ(client.read_reply().body, "GET /a?x=1");
  EXPECT_EQ(client.read_reply().body, "abc");
  const Reply last = client.read_reply();
  EXPECT_EQ(last.body, "GET /c?");
  EXPECT_EQ(last.headers.at("connection"), "keep-alive");
}

TEST_F(ServerTest, TakesAHeadAndABodyThatComeByteByByte) {
  HttpClient client(server_->port());
  for (const char c : std::string(
           "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")) {
    client.send(std::string(1, c));
  }
  EXPECT_EQ(client.read_reply().body, "abcde");
}

TEST_F(ServerTest, TakesABodyOfManyTinyChunks) {
  HttpClient client(server_->port());
  std::string request = "POST /discard HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 200'000; ++i) request += "1\r\nx\r\n";
  client.send(request + "0\r\n\r\n");
  EXPECT_EQ(client.read_reply().body, "200000");
}

TEST_F(ServerTest, StreamsInChunksAndSaysWhenAStreamIsCut) {
  const Reply whole = get("/stream");
  EXPECT_EQ(whole.body, "onetwo");
  EXPECT_TRUE(whole.whole);
  const Reply cut = get("/cut");
  EXPECT_EQ(cut.status, 200);
  EXPECT_FALSE(cut.whole);
}

TEST_F(ServerTest, RefusesBodiesThatAreTooLargeAndClosesTheConnection) {
  HttpClient client(server_->port());
  client.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n" + std::string(100'000, 'x'));
  const Reply reply = client.read_reply();
  EXPECT_EQ(reply.status, 413);
  EXPECT_EQ(reply.headers.at("connection"), "close");
}

TEST_F(ServerTest, AnswersWhatIsNoRequestWith400And431) {
  for (const std::string& text :
       {std::string("GARBAGE\r\n\r\n"), std::string("GET / HTTP/3.9\r\n\r\n"), std::string("GET /\r\n\r\n"),
        std::string("GET / HTTP/1.1\r\nContent-Length: -5\r\n\r\n"), std::string("\x16\x03\x01\x02", 4) + "\r\n\r\n"}) {
    HttpClient client(server_->port());
    client.send(text);
    EXPECT_EQ(client.read_reply().status, 400) << text;
    EXPECT_TRUE(client.at_end());
  }
  HttpClient client(server_->port());
  client.send("GET / HTTP/1.1\r\nX: " + std::string(100'000, 'x') + "\r\n\r\n");
  EXPECT_EQ(client.read_reply().status, 431);
  EXPECT_EQ(get("/").status, 200);
}

TEST_F(ServerTest, AHeaderCannotBringAnotherOne) {
  const Reply reply = get("/x");
  EXPECT_FALSE(reply.headers.contains("set-cookie"));
}

TEST_F(ServerTest, AHandlerHearsThatItsClientHasLeft) {
  {
    HttpClient client(server_->port());
    client.send("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n");
    ASSERT_EQ(site_.arrived.get_future().wait_for(std::chrono::seconds(10)), std::future_status::ready);
  }
  EXPECT_EQ(site_.left.get_future().wait_for(std::chrono::seconds(10)), std::future_status::ready);
}

TEST_F(ServerTest, AHandlerThatThrowsIsA500AndTheServerGoesOn) {
  EXPECT_EQ(get("/throw").status, 500);
  EXPECT_EQ(get("/").status, 200);
}

TEST_F(ServerTest, HeadHasNoBodyAndContinueIsAnswered) {
  const Reply reply = fetch(server_->port(), "HEAD", "/x");
  EXPECT_EQ(reply.headers.at("content-length"), "8");
  HttpClient client(server_->port());
  client.send("POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_THAT(client.read_until("\r\n\r\n"), HasSubstr("100 Continue"));
  client.send("hi");
  EXPECT_EQ(client.read_reply().body, "hi");
}

TEST_F(ServerTest, StoppingBreaksWhatIsOpen) {
  HttpClient client(server_->port());
  client.send("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n");
  site_.arrived.get_future().wait();
  server_->stop();
  EXPECT_TRUE(client.at_end());
  EXPECT_EQ(site_.left.get_future().wait_for(std::chrono::seconds(0)), std::future_status::ready);
}

TEST(WebServer, SaysWhenThePortIsTaken) {
  const auto first = *WebServer::listen({"127.0.0.1:0", "", ""});
  const auto second = WebServer::listen({"127.0.0.1:" + std::to_string(first->port()), "", ""});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(WebServer::listen({"nowhere", "", ""}).ok());
  EXPECT_FALSE(WebServer::listen({"127.0.0.1:0", "no PEM", "no PEM"}).ok());
}

}  // namespace
}  // namespace slipway::web
