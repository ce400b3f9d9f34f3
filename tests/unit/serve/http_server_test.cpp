#include "agents/engine/serve/http_server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <fstream>
#include <future>
#include <mutex>

#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::serve {
namespace {

// A client that says exactly what it is told.
class RawClient {
 public:
  explicit RawClient(const std::string& url) {
    fd_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(std::stoi(url.substr(url.rfind(':') + 1))));
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    timeval limit{10, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  ~RawClient() { leave(); }
  void leave() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  void say(const std::string& text) const { ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL); }
  // Everything up to `end`, or up to the end of the stream.
  std::string hear(const std::string& end) {
    std::string text;
    char c = 0;
    while (recv(fd_, &c, 1, 0) == 1) {
      text += c;
      if (!end.empty() && text.ends_with(end)) break;
    }
    return text;
  }

 private:
  int fd_;
};

class HttpServerTest : public ::testing::Test {
 protected:
  void serve(HttpHandler handler) {
    server_ = std::make_unique<HttpServer>(
        "127.0.0.1:0", limits_, tls_, std::move(handler),
        [](int status, const std::string& message) {
          return HttpResponse{status, "text/plain", message};
        },
        [this](const AccessRecord& record) {
          const std::lock_guard lock(mutex_);
          records_.push_back(record);
          changed_.notify_all();
        });
  }
  AccessRecord wait_for_record(size_t count = 1) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(10), [&] { return records_.size() >= count; });
    return records_.size() >= count ? records_[count - 1] : AccessRecord{};
  }
  static void echo(const std::shared_ptr<Exchange>& exchange) {
    exchange->respond({200, "text/plain",
                       exchange->request().method + " " + exchange->request().path + " " + exchange->request().body});
  }

  HttpLimits limits_;
  HttpTls tls_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<AccessRecord> records_;
  std::unique_ptr<HttpServer> server_;  // last: ends first
};

TEST_F(HttpServerTest, AnswersSeveralRequestsOnOneConnection) {
  serve(echo);
  RawClient client(server_->url());
  client.say("POST /a?key=secret HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhiGET /b HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_NE(client.hear("POST /a hi").find("Content-Length: 10\r\n"), std::string::npos);
  EXPECT_NE(client.hear("GET /b ").find("200 OK"), std::string::npos);
  EXPECT_EQ(wait_for_record().path, "/a");
}

TEST_F(HttpServerTest, ARequestHasAnIdAndItsTraceGoesOn) {
  serve([](const std::shared_ptr<Exchange>& exchange) {
    AccessNotes notes;
    notes.model = "m";
    exchange->note(std::move(notes));
    echo(exchange);
  });
  const std::string trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  RawClient client(server_->url());
  client.say("GET /a HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine-1\r\ntraceparent: " + trace +
             "\r\ntracestate: vendor=1\r\n\r\n");
  const std::string answer = client.hear("GET /a ");
  EXPECT_NE(answer.find("X-Request-Id: mine-1\r\n"), std::string::npos);
  EXPECT_NE(answer.find("traceparent: " + trace + "\r\ntracestate: vendor=1\r\n"), std::string::npos);
  const AccessRecord first = wait_for_record();
  EXPECT_EQ(first.request_id, "mine-1");
  EXPECT_EQ(first.trace, trace);
  EXPECT_EQ(first.notes.model, "m");
  // What cannot stand in a header or a log line is replaced.
  client.say("GET /b HTTP/1.1\r\nHost: x\r\nX-Request-Id: two words\r\ntraceparent: nonsense\r\n\r\n");
  client.hear("GET /b ");
  const AccessRecord second = wait_for_record(2);
  EXPECT_EQ(second.request_id.substr(0, 4), "req-");
  EXPECT_EQ(second.trace, "");
}

TEST_F(HttpServerTest, StreamsInChunks) {
  serve([](const std::shared_ptr<Exchange>& exchange) {
    exchange->begin_stream("text/event-stream");
    exchange->write("one");
    exchange->write("two two two two two");
    exchange->end_stream();
  });
  RawClient client(server_->url());
  client.say("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const std::string answer = client.hear("");
  EXPECT_NE(answer.find("\r\n\r\n3\r\none\r\n13\r\ntwo two two two two\r\n0\r\n\r\n"), std::string::npos) << answer;
}

TEST_F(HttpServerTest, TellsTheHandlerThatTheClientLeft) {
  std::promise<std::shared_ptr<Exchange>> arrived;
  std::promise<Abandoned> left;
  serve([&](std::shared_ptr<Exchange> exchange) {
    exchange->begin_stream("text/plain");
    exchange->write("x");
    exchange->on_abandoned([&](Abandoned why) { left.set_value(why); });
    arrived.set_value(std::move(exchange));
  });
  RawClient client(server_->url());
  client.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  const auto exchange = arrived.get_future().get();
  client.leave();
  auto why = left.get_future();
  ASSERT_EQ(why.wait_for(std::chrono::seconds(10)), std::future_status::ready);
  EXPECT_EQ(why.get(), Abandoned::kClientLeft);
  EXPECT_TRUE(wait_for_record().client_left);
  exchange->write("nobody hears this");
  exchange->end_stream();
  EXPECT_EQ(server_->active(), 0);
}

TEST_F(HttpServerTest, ARequestWhoseTimeHasPassedMayStillBeAnswered) {
  limits_.request_timeout = std::chrono::milliseconds(50);
  serve([](const std::shared_ptr<Exchange>& exchange) {
    exchange->on_abandoned([exchange](Abandoned why) {
      EXPECT_EQ(why, Abandoned::kTimedOut);
      exchange->respond({504, "text/plain", "too slow"});
    });
  });
  RawClient client(server_->url());
  client.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_NE(client.hear("too slow").find("HTTP/1.1 504 "), std::string::npos);
}

TEST_F(HttpServerTest, WorkCanBePutOff) {
  serve([](const std::shared_ptr<Exchange>& exchange) { exchange->defer([exchange] { echo(exchange); }); });
  RawClient client(server_->url());
  client.say("GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_NE(client.hear("GET /later ").find("200 OK"), std::string::npos);
}

TEST_F(HttpServerTest, ABodyMayWaitForTheWordToContinue) {
  serve(echo);
  RawClient client(server_->url());
  client.say("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(client.hear("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.say("hi");
  EXPECT_NE(client.hear("POST /a hi").find("200 OK"), std::string::npos);
}

TEST_F(HttpServerTest, ARequestMayComeByteByByte) {
  serve(echo);
  RawClient client(server_->url());
  for (const char c :
       std::string("POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")) {
    client.say(std::string(1, c));
  }
  EXPECT_NE(client.hear("POST /a hi").find("200 OK"), std::string::npos);
}

TEST_F(HttpServerTest, AWrongCertificateIsRefusedAtTheStart) {
  tls_.certificate = "/nowhere.pem";
  EXPECT_THROW(serve(echo), base::Error);
  tls_.key = "/nowhere.pem";
  EXPECT_THROW(serve(echo), base::Error);
  const base::TemporaryFolder folder;
  tls_.certificate = tls_.key = folder.path() / "empty.pem";
  std::ofstream(tls_.key) << "no PEM";
  EXPECT_THROW(serve(echo), base::Error);
}

TEST_F(HttpServerTest, KeepsToItsLimits) {
  limits_.max_body_bytes = 10;
  limits_.max_header_bytes = 1024;
  limits_.max_connections = 2;
  serve(echo);
  {
    RawClient client(server_->url());
    client.say("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n12345678901");
    EXPECT_NE(client.hear("").find("HTTP/1.1 413 "), std::string::npos);
  }
  {
    RawClient client(server_->url());
    client.say("GET / HTTP/1.1\r\nHost: x\r\nX: " + std::string(2000, 'x') + "\r\n\r\n");
    EXPECT_NE(client.hear("").find("HTTP/1.1 431 "), std::string::npos);
  }
  {
    RawClient client(server_->url());
    client.say("this is not http\r\n\r\n");
    EXPECT_NE(client.hear("").find("HTTP/1.1 400 "), std::string::npos);
  }
}

TEST_F(HttpServerTest, TooManyConnectionsAreToldSo) {
  limits_.max_connections = 1;
  serve(echo);
  RawClient first(server_->url());
  first.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  first.hear("GET / ");
  RawClient second(server_->url());
  EXPECT_NE(second.hear("").find("HTTP/1.1 503 "), std::string::npos);
}

TEST_F(HttpServerTest, ASlowHeadTimesOut) {
  limits_.read_timeout = std::chrono::milliseconds(50);
  serve(echo);
  RawClient client(server_->url());
  client.say("GET / HTTP/1.1\r\nHos");
  EXPECT_NE(client.hear("").find("HTTP/1.1 408 "), std::string::npos);
}

TEST_F(HttpServerTest, AnIdleConnectionIsClosedQuietly) {
  limits_.idle_timeout = std::chrono::milliseconds(50);
  serve(echo);
  RawClient client(server_->url());
  EXPECT_EQ(client.hear(""), "");
}

TEST_F(HttpServerTest, DrainingLetsAnswersUnderWayEnd) {
  std::promise<std::shared_ptr<Exchange>> arrived;
  serve([&](std::shared_ptr<Exchange> exchange) { arrived.set_value(std::move(exchange)); });
  RawClient idle(server_->url());
  RawClient client(server_->url());
  client.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  const auto exchange = arrived.get_future().get();
  server_->drain();
  EXPECT_EQ(idle.hear(""), "");
  EXPECT_EQ(server_->active(), 1);
  exchange->respond({200, "text/plain", "last words"});
  EXPECT_NE(client.hear("").find("last words"), std::string::npos);
}

TEST_F(HttpServerTest, AnExchangeMayOutliveItsServer) {
  std::promise<std::shared_ptr<Exchange>> arrived;
  serve([&](std::shared_ptr<Exchange> exchange) { arrived.set_value(std::move(exchange)); });
  RawClient client(server_->url());
  client.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  const auto exchange = arrived.get_future().get();
  server_.reset();
  exchange->respond({200, "text/plain", "too late"});
}

TEST_F(HttpServerTest, SaysWhyItCannotListen) {
  serve(echo);
  const std::string taken = server_->url().substr(7);
  const auto refusal = [](int, const std::string&) { return HttpResponse{}; };
  EXPECT_THROW(HttpServer(taken, {}, {}, echo, refusal, [](const AccessRecord&) {}), base::Error);
  EXPECT_THROW(HttpServer("127.0.0.1", {}, {}, echo, refusal, [](const AccessRecord&) {}), base::Error);
  EXPECT_THROW(HttpServer("127.0.0.1:99999", {}, {}, echo, refusal, [](const AccessRecord&) {}), base::Error);
}

}  // namespace
}  // namespace slipway::serve
