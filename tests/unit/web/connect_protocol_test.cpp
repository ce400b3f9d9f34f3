#include "backend/web/connect_protocol.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace slipway::web {
namespace {

using grpc::StatusCode;
using nlohmann::json;

TEST(ConnectProtocol, ErrorsCarryCodeMessageAndDetails) {
  const auto error =
      json::parse(connect_error_json(gateway_error(StatusCode::NOT_FOUND, "no run 'x'", "NOT_FOUND", "look again")));
  EXPECT_EQ(error["code"], "not_found");
  EXPECT_EQ(error["message"], "no run 'x'");
  ASSERT_EQ(error["details"].size(), 1U);
  EXPECT_EQ(error["details"][0]["type"], "slipway.v1.ErrorDetail");
  EXPECT_EQ(error["details"][0]["debug"]["reason"], "NOT_FOUND");
  EXPECT_THAT(error["details"][0]["value"].get<std::string>(), testing::Not(testing::HasSubstr("=")));
  const auto plain = json::parse(connect_error_json({StatusCode::CANCELLED, "gone"}));
  EXPECT_EQ(plain["code"], "canceled");
  EXPECT_FALSE(plain.contains("details"));
  EXPECT_NO_THROW(json::parse(connect_error_json({StatusCode::UNKNOWN, "bad \xff bytes"})));
}

TEST(ConnectProtocol, EnvelopesOpenOnlyWhenTheyAreWhole) {
  const std::string whole = envelope(0, "{\"a\":1}");
  std::string_view payload;
  ASSERT_TRUE(open_envelope(whole, payload).ok());
  EXPECT_EQ(payload, "{\"a\":1}");
  ASSERT_TRUE(open_envelope(envelope(0, ""), payload).ok());
  EXPECT_EQ(payload, "");
  for (const std::string& broken : {std::string(), whole.substr(0, 4), whole.substr(0, whole.size() - 1), whole + "x",
                                    envelope(1, "{}"), envelope(2, "{}"), std::string("\0\xff\xff\xff\xff{}", 7)}) {
    EXPECT_EQ(open_envelope(broken, payload).error_code(), StatusCode::INVALID_ARGUMENT);
  }
}

TEST(ConnectProtocol, TimeoutsAreUpToTenDigits) {
  std::optional<int64_t> timeout_ms;
  EXPECT_TRUE(parse_timeout("", timeout_ms).ok());
  EXPECT_FALSE(timeout_ms.has_value());
  EXPECT_TRUE(parse_timeout("9999999999", timeout_ms).ok());
  EXPECT_EQ(timeout_ms, 9'999'999'999);
  for (const char* broken : {"12345678901", "-1", "1s", " 1", "1.5"})
    EXPECT_FALSE(parse_timeout(broken, timeout_ms).ok()) << broken;
}

TEST(ConnectProtocol, EveryCodeHasItsNameAndHttpStatus) {
  EXPECT_EQ(http_status_of(StatusCode::UNAUTHENTICATED), 401);
  EXPECT_EQ(http_status_of(StatusCode::INVALID_ARGUMENT), 400);
  EXPECT_EQ(http_status_of(StatusCode::RESOURCE_EXHAUSTED), 429);
  EXPECT_EQ(http_status_of(StatusCode::INTERNAL), 500);
  EXPECT_STREQ(connect_code(StatusCode::FAILED_PRECONDITION), "failed_precondition");
  EXPECT_EQ(end_of_stream_json(grpc::Status::OK), "{}");
  EXPECT_EQ(json::parse(end_of_stream_json({StatusCode::ABORTED, "x"}))["error"]["code"], "aborted");
}

}  // namespace
}  // namespace slipway::web
