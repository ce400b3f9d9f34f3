// Tables, numbers with units, errors: what people read.
#include "app/cli/output.h"

#include <google/protobuf/timestamp.pb.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "app/cli/failure.h"
#include "slipway/v1/error.pb.h"

namespace slipway::cli {
namespace {

std::string print(const Table& table) {
  std::ostringstream out;
  table.print(out, "nothing");
  return out.str();
}

TEST(Table, AlignsColumnsByWhatTheTerminalShows) {
  Table table({"NAME", "SIZE"}, {1});
  table.add({"grün", "5"});
  table.add({"模型", "12345"});
  EXPECT_EQ(print(table), "NAME   SIZE\ngrün      5\n模型  12345\n");
  EXPECT_EQ(print(Table({"A"})), "nothing\n");
  Table facts({"", ""});
  facts.add({"Id", "x"});
  EXPECT_EQ(print(facts), "Id  x\n");
}

TEST(Table, KeepsControlCharactersOfNamesOutOfTheTerminal) {
  Table table({"NAME"});
  table.add({"a\033[31mb\nc"});
  EXPECT_EQ(print(table), "NAME\na[31mb c\n");
}

TEST(Format, NumbersCarryTheirUnits) {
  EXPECT_EQ(format_bytes(512), "512 B");
  EXPECT_EQ(format_bytes(99'000'000), "94.4 MiB");
  EXPECT_EQ(format_count(134515008), "134,515,008");
  EXPECT_EQ(format_count(-1234), "-1,234");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_duration(3.25), "3.2 s");
  EXPECT_EQ(format_duration(192), "3 m 12 s");
  EXPECT_EQ(format_duration(7320), "2 h 2 m");
  EXPECT_EQ(format_duration(-1), "");
  EXPECT_EQ(format_number(2.11349), "2.113");
  EXPECT_EQ(bar(0.5, 4), "[##..]");
  EXPECT_EQ(bar(7, 2), "[##]");
}

TEST(Format, AgesAreRelative) {
  google::protobuf::Timestamp time;
  EXPECT_EQ(format_age(time, 1'000'000), "");
  time.set_seconds(1000);
  EXPECT_EQ(format_age(time, 1'002'000), "just now");
  EXPECT_EQ(format_age(time, 1'310'000), "5 m ago");
  EXPECT_EQ(format_age(time, 1'042'000), "42 s ago");
}

TEST(Failure, TellsWhatWhereAndWhatToDoFromTheCallsDetails) {
  v1::ErrorDetail detail;
  detail.set_reason("INVALID_ARGUMENT");
  detail.set_advice("fix the flags");
  auto* violation = detail.add_violations();
  violation->set_field("parameters.max_steps");
  violation->set_message("0 is too small");
  violation->set_advice("at least 1");
  v1::Status details;
  details.add_details()->PackFrom(detail);
  const auto failure =
      Failure::from({grpc::StatusCode::INVALID_ARGUMENT, "one value is wrong", details.SerializeAsString()}, "host:1");
  EXPECT_EQ(failure.exit(), Exit::kUsage);
  EXPECT_EQ(failure.text(),
            "slipway: error: one value is wrong\n  --max-steps: 0 is too small (at least 1)\n  to do: fix the flags\n"
            "  code: INVALID_ARGUMENT");
  const auto json = nlohmann::json::parse(failure.json());
  EXPECT_EQ(json["error"]["code"], "INVALID_ARGUMENT");
  EXPECT_EQ(json["error"]["violations"][0]["field"], "parameters.max_steps");
}

TEST(Failure, KnowsTheExitStatusOfEveryKindOfRefusal) {
  const auto exit = [](grpc::StatusCode code) { return Failure::from({code, "x"}, "host:1").exit(); };
  EXPECT_EQ(exit(grpc::StatusCode::UNAUTHENTICATED), Exit::kNotSignedIn);
  EXPECT_EQ(exit(grpc::StatusCode::NOT_FOUND), Exit::kNotFound);
  EXPECT_EQ(exit(grpc::StatusCode::UNAVAILABLE), Exit::kUnavailable);
  EXPECT_EQ(exit(grpc::StatusCode::ALREADY_EXISTS), Exit::kRefused);
  EXPECT_EQ(exit(grpc::StatusCode::INTERNAL), Exit::kFailed);
  EXPECT_NE(Failure::from({grpc::StatusCode::UNAVAILABLE, "x"}, "host:1").text().find("slipway up"), std::string::npos);
}

}  // namespace
}  // namespace slipway::cli
