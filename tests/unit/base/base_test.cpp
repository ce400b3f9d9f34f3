// The common ground: time, ids, hashes, whole files, status details.
#include <gtest/gtest.h>

#include <fstream>

#include "backend/base/clock.h"
#include "backend/base/error.h"
#include "backend/base/files.h"
#include "backend/base/ids.h"
#include "backend/base/sha256.h"
#include "backend/base/status.h"

namespace slipway::base {
namespace {

TEST(Clock, WritesAndReadsRfc3339) {
  EXPECT_EQ(format_rfc3339(1'769'860'800'123), "2026-01-31T12:00:00.123Z");
  EXPECT_EQ(parse_rfc3339("2026-01-31T12:00:00.123Z"), 1'769'860'800'123);
  EXPECT_EQ(parse_rfc3339("2026-01-31"), -1);
}

TEST(Ids, SortByTimeAndAreUnique) {
  const std::string early = new_id("run", 1000);
  const std::string late = new_id("run", 2'000'000'000'000);
  EXPECT_EQ(early.size(), 4U + 26U);
  EXPECT_LT(early, late);
  std::string last = new_id("run", 1000);
  EXPECT_NE(last, early);
  for (int i = 0; i < 2000; ++i) {  // two carries, and in the same millisecond
    const std::string next = new_id("run", 1000);
    EXPECT_LT(last, next);
    last = next;
  }
  EXPECT_EQ(random_secret(32).size(), 43U);
}

TEST(Sha256, MatchesTheStandardsExample) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Sha256 pieces;
  pieces.update("a");
  pieces.update("bc");
  EXPECT_EQ(pieces.hex(), sha256_hex("abc"));
}

TEST(Files, AreReplacedWhole) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "file";
  write_file_atomically(path, "one");
  write_file_atomically(path, "two");
  EXPECT_EQ(read_file(path), "two");
  EXPECT_EQ(sha256_file(path), sha256_hex("two"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
  EXPECT_THROW(read_file(path, 2), Error);
}

TEST(Files, ReportAFullDisk) {
  // /dev/full refuses every write; a rename onto it cannot happen, so ask for the errno mapping alone.
  const Error error = system_error("write x", ENOSPC);
  EXPECT_EQ(error.code(), kDiskFull);
  try {
    write_file_atomically("/nowhere/at/all", "x");
    FAIL();
  } catch (const Error& missing) {
    EXPECT_EQ(missing.code(), kNotFound);
  }
}

TEST(Status, MessagesAreAlwaysUtf8) {
  EXPECT_EQ(printable_utf8("a\xC3\xA4\xE2\x82\xAC\xF0\x9F\x90\xAA"), "a\xC3\xA4\xE2\x82\xAC\xF0\x9F\x90\xAA");
  EXPECT_EQ(printable_utf8("\xFF|\xC3|\xC0\x80|\xED\xA0\x80|\xF4\x90\x80\x80|\xE2\x82"), "?|?|??|???|????|??");
  EXPECT_EQ(error(absl::StatusCode::kInternal, "bad \xFF byte").message(), "bad ? byte");
}

TEST(Status, CarriesReasonFieldAndAdvice) {
  const absl::Status status = invalid_argument("name", "name is empty", "give it one");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(detail_of(status).field, "name");
  EXPECT_EQ(detail_of(status).advice, "give it one");
  EXPECT_EQ(detail_of(absl::OkStatus()).reason, "");
}

}  // namespace
}  // namespace slipway::base
