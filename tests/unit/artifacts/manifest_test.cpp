#include "backend/artifacts/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slipway::artifacts {
namespace {

const std::string kHashA(64, 'a');
const std::string kHashB(64, 'b');

TEST(Manifest, IdDependsOnContentAloneAndNotOnTheOrderOfFiles) {
  const Manifest one{{{"b.txt", 2, kHashB}, {"a/x y.txt", 1, kHashA}}};
  const Manifest two{{{"a/x y.txt", 1, kHashA}, {"b.txt", 2, kHashB}}};
  EXPECT_EQ(artifact_id(one), artifact_id(two));
  const Manifest renamed{{{"a/x z.txt", 1, kHashA}, {"b.txt", 2, kHashB}}};
  EXPECT_NE(artifact_id(one), artifact_id(renamed));
}

TEST(Manifest, CanonicalTextReadsBack) {
  const Manifest manifest{{{"a/x y.txt", 1, kHashA}, {"b.txt", 12345678901, kHashB}}};
  const auto parsed = parse_manifest(canonical_text(manifest));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  ASSERT_EQ(parsed->files.size(), 2U);
  EXPECT_EQ(parsed->files[0].path, "a/x y.txt");
  EXPECT_EQ(parsed->files[1].size, 12345678901);
  EXPECT_EQ(parsed->size(), 12345678902);
}

TEST(Manifest, DamagedTextIsRefused) {
  const std::string text = canonical_text({{{"a.txt", 1, kHashA}}});
  for (const std::string& damaged :
       {std::string(), std::string("slipway-artifact 1\n"), text.substr(0, text.size() - 1), "x" + text, text + "zz\n",
        "slipway-artifact 1\n" + kHashA + " -1 a\n", "slipway-artifact 1\n" + kHashA + " 1 ../a\n"}) {
    EXPECT_EQ(parse_manifest(damaged).status().code(), absl::StatusCode::kDataLoss) << damaged;
  }
}

TEST(Manifest, PathsThatLeadElsewhereAreRefused) {
  for (const std::string path : {"", "/etc/passwd", "..", "a/../b", "./a", "a//b", "a/", "a\\b", "a\nb", "a\tb"}) {
    EXPECT_EQ(check_path("path", path).code(), absl::StatusCode::kInvalidArgument) << path;
  }
  EXPECT_FALSE(check_path("path", std::string(600, 'a')).ok());
  EXPECT_FALSE(check_path("path", std::string("a\0b", 3)).ok());
  EXPECT_TRUE(check_path("path", "folder/model-00001-of-00002.safetensors").ok());
  EXPECT_TRUE(check_path("path", "übung/a b.txt").ok());
}

TEST(Manifest, OneNameCannotBeTwoThings) {
  EXPECT_FALSE(check_paths("files", {{"a", 1, ""}, {"a", 1, ""}}).ok());
  EXPECT_FALSE(check_paths("files", {{"a", 1, ""}, {"a/b", 1, ""}}).ok());
  EXPECT_FALSE(check_paths("files", {}).ok());
  EXPECT_TRUE(check_paths("files", {{"a.b", 1, ""}, {"a/b", 1, ""}}).ok());
}

}  // namespace
}  // namespace slipway::artifacts
