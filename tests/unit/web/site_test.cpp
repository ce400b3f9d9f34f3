#include "backend/web/site.h"

#include <gtest/gtest.h>

#include "backend/web/server.h"
#include "tests/unit/web/http_client.h"

namespace slipway::web {
namespace {

class Named final : public Handler {
 public:
  explicit Named(std::string name) : name_(std::move(name)) {}
  void handle(const ExchangePointer& exchange) override { exchange->respond({200, {}, name_}); }

 private:
  std::string name_;
};

class SiteTest : public testing::Test {
 protected:
  SiteTest()
      : site_({&api_, &artifacts_, &openai_, &console_, nullptr}, false, {"desk.local"}),
        server_(*WebServer::listen({"127.0.0.1:0", "", ""})) {
    server_->start(site_, [](const RequestHead&, int, int64_t) {});
  }
  Reply ask(const std::string& method, const std::string& target, const std::string& headers = "") {
    return fetch(server_->port(), method, target, headers);
  }
  std::string origin() { return "Origin: http://127.0.0.1:" + std::to_string(server_->port()) + "\r\n"; }

  Named api_{"api"}, artifacts_{"artifacts"}, openai_{"openai"}, console_{"console"};
  Site site_;
  std::unique_ptr<WebServer> server_;
};

TEST_F(SiteTest, PathsLeadToTheirParts) {
  EXPECT_EQ(ask("GET", "/api/x").body, "api");
  EXPECT_EQ(ask("GET", "/artifacts/x").body, "artifacts");
  EXPECT_EQ(ask("GET", "/v1/models").body, "openai");
  EXPECT_EQ(ask("GET", "/runs/1").body, "console");
  EXPECT_EQ(ask("GET", "/healthz").body, "ok\n");
  EXPECT_EQ(ask("GET", "/metrics").status, 404);
}

TEST_F(SiteTest, AForeignHostNameIsRefusedEvenOnLoopback) {
  for (const char* host :
       {"evil.com", "evil.com:7878", "127.0.0.1.evil.com", "", "localhost.evil.com:1", "169.254.169.254"}) {
    EXPECT_EQ(ask("GET", "/", std::string("Host: ") + host + "\r\n").status, 421) << host;
  }
  for (const char* host : {"localhost", "127.0.0.1:1", "[::1]:7878", "[::1]", "desk.local:7878"}) {
    EXPECT_EQ(ask("GET", "/", std::string("Host: ") + host + "\r\n").status, 200) << host;
  }
}

TEST_F(SiteTest, TheCookieWorksFromTheSitesOwnPagesAlone) {
  const std::string cookie = "Cookie: slipway_session=abc\r\n";
  const std::string json = "Content-Type: application/json\r\n";
  EXPECT_EQ(ask("POST", "/api/x", cookie + json).status, 403);
  EXPECT_EQ(ask("POST", "/api/x", cookie + json + "Origin: http://evil.com\r\n").status, 403);
  EXPECT_EQ(ask("POST", "/api/x", cookie + json + "Sec-Fetch-Site: cross-site\r\n").status, 403);
  EXPECT_EQ(ask("PUT", "/artifacts/x", cookie).status, 403);
  EXPECT_EQ(ask("POST", "/api/x", cookie + json + origin()).status, 200);
  EXPECT_EQ(ask("POST", "/v1/x", cookie + "Content-Type: text/plain\r\n" + origin()).status, 415);
  EXPECT_EQ(ask("PUT", "/artifacts/x", cookie + origin()).status, 200);
  EXPECT_EQ(ask("GET", "/artifacts/x", cookie).status, 200);
  // Programs bring a token and no cookie.
  EXPECT_EQ(ask("POST", "/api/x", "Authorization: Bearer slw_x\r\n").status, 200);
}

}  // namespace
}  // namespace slipway::web
