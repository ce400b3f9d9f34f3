// What the console does, over HTTP alone: sign in with a cookie, upload with a break in between, import, watch, sign
// out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "backend/base/sha256.h"
#include "tests/integration/web/daemon.h"

namespace slipway {
namespace {

using nlohmann::json;
using testing::HasSubstr;

TEST(Journey, SignInUploadImportWatchSignOut) {
  const base::TemporaryFolder folder;
  Daemon daemon(folder.path() / "data");
  daemon.set_up();
  const std::string origin = "Origin: http://127.0.0.1:" + std::to_string(daemon.web_port()) + "\r\n";
  const std::string as_json = "Content-Type: application/json\r\n";
  const auto post = [&](const std::string& method, const json& request, const std::string& headers) {
    return web::fetch(daemon.web_port(), "POST", "/api/slipway.v1." + method, as_json + origin + headers,
                      request.dump());
  };
  const web::Reply signed_in = post("AuthService/SignIn", {{"userName", "ada"}, {"password", "0123456789"}}, "");
  ASSERT_EQ(signed_in.status, 200) << signed_in.body;
  const std::string set_cookie = signed_in.headers.at("set-cookie");
  EXPECT_THAT(set_cookie, HasSubstr("HttpOnly; SameSite=Strict"));
  EXPECT_THAT(set_cookie, testing::Not(HasSubstr("Secure")));
  const std::string cookie = "Cookie: theme=dark; " + set_cookie.substr(0, set_cookie.find(';')) + "\r\n";

  // A watch that is open sees what is registered later.
  web::HttpClient watch(daemon.web_port());
  watch.send("POST /api/slipway.v1.EventService/Watch HTTP/1.1\r\nHost: 127.0.0.1:" +
             std::to_string(daemon.web_port()) + "\r\nContent-Type: application/connect+json\r\n" + origin + cookie +
             "Content-Length: 7\r\n\r\n" + std::string("\0\0\0\0\2{}", 7));
  ASSERT_THAT(watch.read_until("cursor"), HasSubstr("application/connect+json"));

  const std::string rows =
      "{\"question\":\"Why?\",\"answer\":\"Because.\"}\n{\"question\":\"How?\",\"answer\":\"So.\"}\n";
  const json upload = json::parse(post("ArtifactService/BeginUpload",
                                       {{"files", json::array({{{"path", "faq.jsonl"},
                                                                {"size", std::to_string(rows.size())},
                                                                {"sha256", base::sha256_hex(rows)}}})}},
                                       cookie)
                                      .body);
  const std::string address = "/artifacts/uploads/" + upload["id"].get<std::string>() + "/0?offset=";
  {
    // The browser closes in the middle of the file.
    web::HttpClient broken(daemon.web_port());
    broken.send("PUT " + address + "0 HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(daemon.web_port()) + "\r\n" +
                cookie + "Sec-Fetch-Site: same-origin\r\nContent-Length: " + std::to_string(rows.size()) + "\r\n\r\n" +
                rows.substr(0, 10));
    // Wait until the ten bytes are there, as a new page would find them.
    for (int i = 0; i < 500; ++i) {
      const json state = json::parse(post("ArtifactService/GetUpload", {{"uploadId", upload["id"]}}, cookie).body);
      if (state["files"][0].value("received", "0") == "10") break;
    }
  }
  const auto put = [&](int offset) {
    return web::fetch(daemon.web_port(), "PUT", address + std::to_string(offset), cookie + origin,
                      rows.substr(static_cast<size_t>(offset)));
  };
  EXPECT_THAT(put(5).body, HasSubstr("WRONG_OFFSET"));
  web::Reply rest = put(10);
  for (int i = 0; i < 500 && rest.body.find("UPLOAD_BUSY") != std::string::npos; ++i) rest = put(10);
  ASSERT_EQ(rest.status, 200) << rest.body;
  const json artifact = json::parse(post("ArtifactService/FinishUpload", {{"uploadId", upload["id"]}}, cookie).body);
  ASSERT_TRUE(artifact.contains("id")) << artifact;
  const std::string file = "/artifacts/" + artifact["id"].get<std::string>() + "/files/faq.jsonl";
  EXPECT_EQ(web::fetch(daemon.web_port(), "GET", file, cookie).body, rows);
  EXPECT_EQ(web::fetch(daemon.web_port(), "GET", file, cookie + "Range: bytes=2-9\r\n").body, rows.substr(2, 8));
  EXPECT_EQ(web::fetch(daemon.web_port(), "GET", file).status, 401);
  EXPECT_EQ(web::fetch(daemon.web_port(), "GET",
                       "/artifacts/" + artifact["id"].get<std::string>() + "/files/..%2f..%2fslipway.db", cookie)
                .status,
            404);

  const json version =
      json::parse(post("DatasetService/ImportDataset", {{"name", "faq"}, {"artifactId", artifact["id"]}}, cookie).body);
  EXPECT_EQ(version["rowCount"], "2") << version;
  EXPECT_THAT(watch.read_until(version["datasetId"].get<std::string>()), HasSubstr("\"kind\":\"dataset\""));

  const web::Reply out = post("AuthService/SignOut", json::object(), cookie);
  EXPECT_THAT(out.headers.at("set-cookie"), HasSubstr("Max-Age=0"));
  EXPECT_EQ(post("AuthService/GetCurrentUser", json::object(), cookie).status, 401);
  EXPECT_EQ(daemon.stop(SIGTERM), 0);
}

}  // namespace
}  // namespace slipway
