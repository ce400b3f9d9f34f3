#include "backend/web/console_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backend/base/files.h"
#include "backend/web/server.h"
#include "tests/unit/web/http_client.h"

namespace slipway::web {
namespace {

using testing::HasSubstr;

class ConsoleFilesTest : public testing::Test {
 protected:
  ConsoleFilesTest() : server_(*WebServer::listen({"127.0.0.1:0", "", ""})) {
    std::filesystem::create_directories(folder_.path() / "web/assets");
    base::write_file_atomically(folder_.path() / "web/index.html", "<html>");
    base::write_file_atomically(folder_.path() / "web/assets/index-B3kq9x1Z.js", "let x;");
    base::write_file_atomically(folder_.path() / "web/assets/index-B3kq9x1Z.js.gz", "GZIP");
    base::write_file_atomically(folder_.path() / "secret.txt", "secret");
    server_->start(files_, [](const RequestHead&, int, int64_t) {});
  }
  ~ConsoleFilesTest() override {
    server_->stop();
    workers_.join();
  }
  Reply get(const std::string& path, const std::string& headers = "") {
    return fetch(server_->port(), "GET", path, headers);
  }

  base::TemporaryFolder folder_;
  Workers workers_{1};
  std::unique_ptr<WebServer> server_;
  ConsoleFiles files_{folder_.path() / "web", workers_};
};

TEST_F(ConsoleFilesTest, AddressesInsideTheConsoleShowItsPage) {
  for (const char* path : {"/", "/runs/run-1/logs", "/setup?token=x", "/models"}) {
    const Reply reply = get(path);
    EXPECT_EQ(reply.body, "<html>") << path;
    EXPECT_EQ(reply.headers.at("content-type"), "text/html; charset=utf-8");
    EXPECT_EQ(reply.headers.at("cache-control"), "no-cache");
  }
  EXPECT_EQ(get("/assets/gone-12345678.js").status, 404);
}

TEST_F(ConsoleFilesTest, PagesMayNotBeFramedAndRunOwnScriptsAlone) {
  const Reply reply = get("/");
  EXPECT_THAT(reply.headers.at("content-security-policy"), HasSubstr("frame-ancestors 'none'"));
  EXPECT_THAT(reply.headers.at("content-security-policy"), HasSubstr("script-src 'self';"));
  EXPECT_EQ(reply.headers.at("x-content-type-options"), "nosniff");
}

TEST_F(ConsoleFilesTest, HashedFilesAreKeptForEverAndOthersAreAskedFor) {
  const Reply script = get("/assets/index-B3kq9x1Z.js");
  EXPECT_EQ(script.body, "let x;");
  EXPECT_THAT(script.headers.at("cache-control"), HasSubstr("immutable"));
  const Reply packed = get("/assets/index-B3kq9x1Z.js", "Accept-Encoding: gzip, deflate\r\n");
  EXPECT_EQ(packed.body, "GZIP");
  EXPECT_EQ(packed.headers.at("content-encoding"), "gzip");
  EXPECT_EQ(packed.headers.at("content-type"), "text/javascript; charset=utf-8");
  const Reply again = get("/", "If-None-Match: " + get("/").headers.at("etag") + "\r\n");
  EXPECT_EQ(again.status, 304);
}

TEST_F(ConsoleFilesTest, NothingOutsideTheFolderIsGiven) {
  for (const char* path :
       {"/../secret.txt", "/%2e%2e/secret.txt", "/assets/..%2f..%2f../secret.txt", "/..%5csecret.txt", "/%00"}) {
    const Reply reply = get(path);
    EXPECT_THAT(reply.body, testing::Not(HasSubstr("secret\n"))) << path;
    EXPECT_NE(reply.body, "secret") << path;
    EXPECT_EQ(reply.status, 400) << path;
  }
  EXPECT_EQ(fetch(server_->port(), "POST", "/").status, 405);
}

TEST_F(ConsoleFilesTest, AMissingConsoleIsSaid) {
  std::filesystem::remove(folder_.path() / "web/index.html");
  const Reply reply = get("/");
  EXPECT_EQ(reply.status, 404);
  EXPECT_THAT(reply.body, HasSubstr("not built"));
}

}  // namespace
}  // namespace slipway::web
