#include "backend/web/http.h"

#include <gtest/gtest.h>

#include "backend/web/artifact_routes.h"
#include "backend/web/openai_gateway.h"
#include "backend/web/server.h"
#include "backend/web/session_cookie.h"
#include "backend/web/site.h"

namespace slipway::web {
namespace {

TEST(Http, PercentDecodingRefusesWhatIsNoText) {
  std::string text;
  EXPECT_TRUE(percent_decode("a%20b%2Fc", text));
  EXPECT_EQ(text, "a b/c");
  for (const char* broken : {"%", "%2", "%zz", "a%00b", "%0a", "%7f"})
    EXPECT_FALSE(percent_decode(broken, text)) << broken;
}

TEST(Http, QueryValuesAndMediaTypes) {
  EXPECT_EQ(query_value("a=1&offset=25&b=%20", "offset"), "25");
  EXPECT_EQ(query_value("a=1&offset=25&b=%20", "b"), " ");
  EXPECT_EQ(query_value("xoffset=1", "offset"), "");
  EXPECT_TRUE(has_media_type("Application/JSON; charset=utf-8", "application/json"));
  EXPECT_FALSE(has_media_type("application/jsonp", "application/json"));
  EXPECT_FALSE(has_media_type("", "application/json"));
}

TEST(Http, AddressesAreSplit) {
  std::string host;
  uint16_t port = 0;
  ASSERT_TRUE(split_address("127.0.0.1:7878", host, port));
  EXPECT_EQ(port, 7878);
  ASSERT_TRUE(split_address("[::1]:80", host, port));
  EXPECT_EQ(host, "::1");
  for (const char* broken :
       {"", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:8x", "::1:80", "[]:80"}) {
    EXPECT_FALSE(split_address(broken, host, port)) << broken;
  }
  EXPECT_TRUE(is_loopback_host("127.0.0.2") && is_loopback_host("::1") && is_loopback_host("LocalHost"));
  EXPECT_FALSE(is_loopback_host("0.0.0.0") || is_loopback_host("10.0.0.1") || is_loopback_host("localhost.evil.com"));
}

TEST(Http, RangesAreCutToTheFile) {
  const auto part = [](const char* header) {
    const ByteRange range = parse_range(header, 10);
    return range.kind == ByteRange::Kind::kPart    ? std::to_string(range.first) + "-" + std::to_string(range.last)
           : range.kind == ByteRange::Kind::kWhole ? "whole"
                                                   : "unsatisfiable";
  };
  EXPECT_EQ(part("bytes=0-4"), "0-4");
  EXPECT_EQ(part("bytes=5-"), "5-9");
  EXPECT_EQ(part("bytes=5-99999999999"), "5-9");
  EXPECT_EQ(part("bytes=-3"), "7-9");
  EXPECT_EQ(part("bytes=-30"), "0-9");
  EXPECT_EQ(part("bytes=10-"), "unsatisfiable");
  EXPECT_EQ(part("bytes=-0"), "unsatisfiable");
  for (const char* ignored : {"", "bytes=", "bytes=a-b", "bytes=5-4", "bytes=0-1,3-4", "items=0-1", "bytes=--1"}) {
    EXPECT_EQ(part(ignored), "whole") << ignored;
  }
  EXPECT_EQ(parse_range("bytes=0-", 0).kind, ByteRange::Kind::kUnsatisfiable);
}

TEST(Http, TheModelNameIsFoundAtTheTopAlone) {
  std::string model;
  EXPECT_TRUE(find_model_name(R"({"messages":[{"model":"no"}],"model":"yes","x":{"model":"no"}})", model));
  EXPECT_EQ(model, "yes");
  EXPECT_TRUE(find_model_name(R"({"model":5})", model));
  EXPECT_EQ(model, "");
  for (const char* broken : {"", "[]", "{", "\"model\"", "{\"model\":\"a\"} x", "[{\"model\":\"a\"}]"}) {
    EXPECT_FALSE(find_model_name(broken, model)) << broken;
  }
  // Depth costs no stack.
  EXPECT_FALSE(find_model_name("{\"a\":" + std::string(1'000'000, '['), model));
}

TEST(Http, TheSessionsCookieIsNamedByThePort) {
  RequestHead head;
  head.headers = {{"Host", "127.0.0.1:7878"}, {"Cookie", "slipway_session_7900=other; slipway_session_7878=mine"}};
  EXPECT_EQ(session_cookie_name(head), "slipway_session_7878");
  EXPECT_EQ(credentials_of(head).session, "mine");
  head.headers[0].value = "slipway.example";
  EXPECT_EQ(session_cookie_name(head), "slipway_session");
  EXPECT_EQ(credentials_of(head).session, "");
}

TEST(Http, OnlyTheSitesOwnPagesMayUseTheCookie) {
  const auto own = [](std::vector<Header> headers) {
    headers.push_back({"Host", "127.0.0.1:7878"});
    return comes_from_own_page({"POST", "/", "", headers, false, true});
  };
  EXPECT_TRUE(own({{"Origin", "http://127.0.0.1:7878"}}));
  EXPECT_TRUE(own({{"Sec-Fetch-Site", "same-origin"}}));
  EXPECT_FALSE(own({}));
  EXPECT_FALSE(own({{"Origin", "http://127.0.0.1:9999"}}));
  EXPECT_FALSE(own({{"Origin", "https://127.0.0.1:7878"}}));
  EXPECT_FALSE(own({{"Origin", "null"}}));
  EXPECT_FALSE(own({{"Sec-Fetch-Site", "same-site"}}));
  EXPECT_FALSE(own({{"Sec-Fetch-Site", "cross-site"}, {"Origin", "http://127.0.0.1:7878"}}));
}

}  // namespace
}  // namespace slipway::web
