#include "backend/web/openai_gateway.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <nlohmann/json.hpp>

#include "backend/base/files.h"
#include "backend/web/server.h"
#include "tests/unit/web/http_client.h"

namespace slipway::web {
namespace {

using nlohmann::json;
using service::ServedDeployment;
using testing::HasSubstr;

class FakeModels final : public service::ServedModels {
 public:
  void called(const std::string&) override {}
  absl::StatusOr<std::vector<ServedDeployment>> list_served() override { return deployments; }
  std::vector<ServedDeployment> deployments;
};

// A replica that streams two events, and holds the second until it is told.
class Replica final : public Handler {
 public:
  void handle(const ExchangePointer& exchange) override {
    head = exchange->head();
    exchange->read_body(1 << 20, [this, exchange](std::string body) {
      if (body.find("\"stream\":true") == std::string::npos) {
        exchange->respond({200, {{"Content-Type", "application/json"}, {"Set-Cookie", "a=b"}}, body});
        return;
      }
      exchange->on_closed([this] { left.set_value(); });
      exchange->begin(200, {{"Content-Type", "text/event-stream"}}, -1);
      exchange->write("data: one\n\n", nullptr);
      second = [exchange] {
        exchange->write("data: two\n\n", nullptr);
        exchange->end();
      };
      begun.set_value(exchange);
    });
  }
  RequestHead head;
  std::function<void()> second;
  std::promise<ExchangePointer> begun;
  std::promise<void> left;
};

class OpenAiGatewayTest : public testing::Test {
 protected:
  OpenAiGatewayTest()
      : database_(*store::Database::open(folder_.path() / "slipway.db", clock_)),
        auth_(*database_, clock_, nullptr, service::smallest_password_cost()),
        keys_(*database_, clock_),
        replica_server_(*WebServer::listen({"127.0.0.1:0", "", ""})),
        server_(*WebServer::listen({"127.0.0.1:0", "", ""})),
        gateway_(server_->io(), auth_, keys_, models_, workers_) {
    replica_server_->start(replica_, [](const RequestHead&, int, int64_t) {});
    server_->start(gateway_, [](const RequestHead&, int, int64_t) {});
    using State = ServedDeployment::State;
    models_.deployments = {{"d1",
                            "faq",
                            State::kReady,
                            {"faq", "faq-base"},
                            "127.0.0.1:" + std::to_string(replica_server_->port()),
                            "",
                            1000},
                           {"d2", "slow", State::kStarting, {"slow"}, "", "waits for a device", 1000},
                           {"d3", "off", State::kUnavailable, {"off"}, "", "stopped", 1000},
                           {"d4", "dead", State::kReady, {"dead"}, "127.0.0.1:1", "", 1000}};
    const auto setup = auth_.complete_setup(auth_.start_setup(), "ada", "0123456789");
    token_ = auth_.sign_in("ada", "0123456789", "test")->api_token;
    key_ = keys_.create("d1", "app")->secret;
  }
  ~OpenAiGatewayTest() override {
    server_->stop();
    replica_server_->stop();
    workers_.join();
  }
  static std::string bearer(const std::string& secret) { return "Authorization: Bearer " + secret + "\r\n"; }
  Reply chat(const std::string& body, const std::string& secret) {
    return fetch(server_->port(), "POST", "/v1/chat/completions", bearer(secret) + "Content-Type: application/json\r\n",
                 body);
  }

  base::TemporaryFolder folder_;
  base::SystemClock clock_;
  std::unique_ptr<store::Database> database_;
  service::Auth auth_;
  service::DeploymentKeys keys_;
  FakeModels models_;
  Workers workers_{2};
  Replica replica_;
  std::unique_ptr<WebServer> replica_server_;
  std::unique_ptr<WebServer> server_;
  OpenAiGateway gateway_;
  std::string token_, key_;
};

TEST_F(OpenAiGatewayTest, PassesARequestAndItsAnswerOnUnchangedAndKeepsCredentialsToItself) {
  const std::string body = R"({"model":"faq-base", "messages":[{"role":"user","content":"ä\n"}]})";
  const Reply reply = chat(body, key_);
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, body);
  EXPECT_EQ(reply.headers.at("content-type"), "application/json");
  EXPECT_FALSE(reply.headers.contains("set-cookie"));
  EXPECT_EQ(replica_.head.path, "/v1/chat/completions");
  EXPECT_FALSE(replica_.head.has_header("authorization"));
  EXPECT_FALSE(replica_.head.has_header("cookie"));
  EXPECT_EQ(chat(body, token_).status, 200);
}

TEST_F(OpenAiGatewayTest, AnEventIsPassedOnBeforeTheNextOneExists) {
  HttpClient client(server_->port());
  const std::string body = R"({"model":"faq","stream":true})";
  client.send("POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\n" + bearer(key_) +
              "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  EXPECT_THAT(client.read_until("data: one\n\n"), HasSubstr("text/event-stream"));
  const ExchangePointer exchange = replica_.begun.get_future().get();
  exchange->resume(replica_.second);
  EXPECT_THAT(client.read_until("0\r\n\r\n"), HasSubstr("data: two\n\n"));
}

TEST_F(OpenAiGatewayTest, AClientThatLeavesEndsTheReplicasWork) {
  {
    HttpClient client(server_->port());
    const std::string body = R"({"model":"faq","stream":true})";
    client.send("POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\n" + bearer(key_) +
                "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
    ASSERT_FALSE(client.read_until("data: one\n\n").empty());
  }
  EXPECT_EQ(replica_.left.get_future().wait_for(std::chrono::seconds(10)), std::future_status::ready);
}

TEST_F(OpenAiGatewayTest, ErrorsHaveOpenAisShape) {
  const auto error = [](const Reply& reply) { return json::parse(reply.body)["error"]; };
  const Reply nobody = fetch(server_->port(), "POST", "/v1/chat/completions", "", R"({"model":"faq"})");
  EXPECT_EQ(nobody.status, 401);
  EXPECT_EQ(error(nobody)["code"], "invalid_api_key");
  EXPECT_EQ(chat(R"({"model":"faq"})", "slk_wrong").status, 401);

  const Reply unknown = chat(R"({"model":"gpt-9"})", token_);
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(error(unknown)["code"], "model_not_found");
  EXPECT_THAT(error(unknown)["message"].get<std::string>(), HasSubstr("faq, faq-base"));

  const Reply starting = chat(R"({"model":"slow"})", token_);
  EXPECT_EQ(starting.status, 503);
  EXPECT_EQ(starting.headers.at("retry-after"), "2");
  EXPECT_THAT(error(starting)["message"].get<std::string>(), HasSubstr("waits for a device"));

  EXPECT_EQ(chat(R"({"model":"off"})", token_).status, 404);
  EXPECT_EQ(chat(R"({"model":"dead"})", token_).status, 503);
  EXPECT_EQ(chat(R"({"messages":[]})", token_).status, 400);
  EXPECT_EQ(chat("no json", token_).status, 400);
  EXPECT_EQ(fetch(server_->port(), "DELETE", "/v1/x", bearer(token_)).status, 405);
}

TEST_F(OpenAiGatewayTest, AKeyOpensItsOwnDeploymentAlone) {
  const Reply other = chat(R"({"model":"dead"})", key_);
  EXPECT_EQ(other.status, 404);
  EXPECT_THAT(other.body, testing::Not(HasSubstr("slow")));
  const auto names = [&](const std::string& secret) {
    std::vector<std::string> ids;
    const json list = json::parse(fetch(server_->port(), "GET", "/v1/models", bearer(secret)).body);
    for (const json& model : list["data"]) ids.push_back(model["id"]);
    return ids;
  };
  EXPECT_THAT(names(key_), testing::ElementsAre("faq", "faq-base"));
  EXPECT_THAT(names(token_), testing::ElementsAre("faq", "faq-base", "dead"));
  EXPECT_EQ(fetch(server_->port(), "GET", "/v1/models/faq", bearer(key_)).status, 200);
  EXPECT_EQ(fetch(server_->port(), "GET", "/v1/models/dead", bearer(key_)).status, 404);
}

}  // namespace
}  // namespace slipway::web
