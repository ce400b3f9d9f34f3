#include "backend/artifacts/artifact_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <fstream>
#include <limits>
#include <optional>

#include "backend/base/files.h"
#include "backend/base/sha256.h"
#include "backend/base/status.h"

namespace slipway::artifacts {
namespace {

namespace fs = std::filesystem;
using absl::StatusCode;

class ArtifactStoreTest : public testing::Test {
 protected:
  ArtifactStoreTest() { open(); }

  // As slipwayd does when it starts again.
  void open() {
    store_.reset();
    store_.emplace(folder_.path() / "artifacts", clock_, disk_);
  }

  absl::Status send(const std::string& upload_id, int64_t index, int64_t offset, const std::string& data) {
    auto writer = store_->write_file(upload_id, index, offset);
    return writer.ok() ? (*writer)->write(data) : writer.status();
  }

  absl::StatusOr<Artifact> put(const std::vector<std::pair<std::string, std::string>>& files) {
    std::vector<FileEntry> entries;
    for (const auto& [path, content] : files) entries.push_back({path, static_cast<int64_t>(content.size()), ""});
    const auto upload = store_->begin_upload("", entries);
    if (!upload.ok()) return upload.status();
    for (size_t i = 0; i < files.size(); ++i) {
      const absl::Status status = send(upload->id, static_cast<int64_t>(i), 0, files[i].second);
      if (!status.ok()) return status;
    }
    return store_->finish_upload(upload->id);
  }

  absl::StatusOr<std::string> read_all(const std::string& id, const std::string& path, int64_t offset = 0) {
    auto reader = store_->read_file(id, path, offset);
    if (!reader.ok()) return reader.status();
    std::string all;
    while (true) {
      auto piece = (*reader)->read(3);
      if (!piece.ok()) return piece.status();
      if (piece->empty()) return all;
      all += *piece;
    }
  }

  size_t count_files(const std::string& name) {
    size_t count = 0;
    for (const auto& entry : fs::recursive_directory_iterator(folder_.path() / "artifacts" / name)) {
      count += entry.is_regular_file() ? 1 : 0;
    }
    return count;
  }

  fs::path blob(const std::string& content) {
    const std::string sha256 = base::sha256_hex(content);
    return folder_.path() / "artifacts/blobs" / sha256.substr(0, 2) / sha256;
  }

  base::TemporaryFolder folder_;
  base::FakeClock clock_{base::SystemClock().now_ms()};
  DiskOperations disk_ = real_disk();
  std::optional<ArtifactStore> store_;
};

TEST_F(ArtifactStoreTest, WhatIsUploadedIsReadBack) {
  const auto artifact = put({{"model.bin", "0123456789"}, {"sub/config.json", "{}"}, {"empty", ""}});
  ASSERT_TRUE(artifact.ok()) << artifact.status();
  EXPECT_EQ(artifact->manifest.files.size(), 3U);
  EXPECT_EQ(read_all(artifact->id, "model.bin").value(), "0123456789");
  EXPECT_EQ(read_all(artifact->id, "model.bin", 7).value(), "789");
  EXPECT_EQ(read_all(artifact->id, "empty").value(), "");
  EXPECT_EQ(read_all(artifact->id, "other").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(read_all(artifact->id, "model.bin", 11).status().code(), StatusCode::kOutOfRange);
}

TEST_F(ArtifactStoreTest, SameContentHasTheSameIdAndIsStoredOnce) {
  const auto one = put({{"a", "same"}, {"b", "same"}});
  const auto two = put({{"b", "same"}, {"a", "same"}});
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_EQ(one->id, two->id);
  EXPECT_EQ(count_files("blobs"), 1U);
}

TEST_F(ArtifactStoreTest, KnownContentNeedNotBeSent) {
  ASSERT_TRUE(put({{"a", "hello"}}).ok());
  const auto upload = store_->begin_upload("", {{"copy", 5, base::sha256_hex("hello")}});
  ASSERT_TRUE(upload.ok()) << upload.status();
  EXPECT_EQ(upload->received[0], 5);
  const auto artifact = store_->finish_upload(upload->id);
  ASSERT_TRUE(artifact.ok()) << artifact.status();
  EXPECT_EQ(read_all(artifact->id, "copy").value(), "hello");
}

TEST_F(ArtifactStoreTest, AnUploadGoesOnAfterTheBackendWasKilled) {
  const auto upload = store_->begin_upload("", {{"a", 10, base::sha256_hex("0123456789")}});
  ASSERT_TRUE(upload.ok());
  ASSERT_TRUE(send(upload->id, 0, 0, "01234").ok());
  open();
  const auto resumed = store_->begin_upload(upload->id, {});
  ASSERT_TRUE(resumed.ok()) << resumed.status();
  EXPECT_EQ(resumed->received[0], 5);
  EXPECT_EQ(store_->finish_upload(upload->id).status().code(), StatusCode::kFailedPrecondition);
  ASSERT_TRUE(send(upload->id, 0, 5, "56789").ok());
  const auto artifact = store_->finish_upload(upload->id);
  ASSERT_TRUE(artifact.ok()) << artifact.status();
  EXPECT_EQ(read_all(artifact->id, "a").value(), "0123456789");
}

TEST_F(ArtifactStoreTest, AFinishThatWasKilledHalfwayIsFinishedAgain) {
  const auto upload = store_->begin_upload("", {{"a", 1, ""}, {"b", 1, ""}});
  ASSERT_TRUE(send(upload->id, 0, 0, "A").ok());
  ASSERT_TRUE(send(upload->id, 1, 0, "B").ok());
  // As after a crash between moving the first file and writing the manifest.
  const fs::path uploads = folder_.path() / "artifacts/uploads" / upload->id;
  base::write_file_atomically(uploads / "upload.json",
                              R"({"files":[{"path":"a","size":1,"sha256":")" + base::sha256_hex("A") +
                                  R"("},{"path":"b","size":1,"sha256":")" + base::sha256_hex("B") + R"("}]})");
  fs::create_directories(blob("A").parent_path());
  fs::rename(uploads / "0", blob("A"));
  open();
  const auto artifact = store_->finish_upload(upload->id);
  ASSERT_TRUE(artifact.ok()) << artifact.status();
  EXPECT_EQ(read_all(artifact->id, "a").value(), "A");
  EXPECT_EQ(read_all(artifact->id, "b").value(), "B");
}

TEST_F(ArtifactStoreTest, FinishingTwiceGivesTheSameArtifact) {
  const auto upload = store_->begin_upload("", {{"a", 1, ""}});
  ASSERT_TRUE(send(upload->id, 0, 0, "A").ok());
  const auto first = store_->finish_upload(upload->id);
  const auto second = store_->finish_upload(upload->id);
  ASSERT_TRUE(first.ok() && second.ok()) << second.status();
  EXPECT_EQ(first->id, second->id);
  EXPECT_EQ(store_->get_upload(upload->id)->received[0], 1);
}

TEST_F(ArtifactStoreTest, WrongOffsetsAreRefusedAndChangeNothing) {
  const auto upload = store_->begin_upload("", {{"a", 10, ""}});
  ASSERT_TRUE(send(upload->id, 0, 0, "012").ok());
  for (const int64_t offset : {int64_t{0}, int64_t{2}, int64_t{4}, int64_t{-1}, std::numeric_limits<int64_t>::max()}) {
    const absl::Status status = send(upload->id, 0, offset, "x");
    EXPECT_EQ(status.code(), StatusCode::kAborted) << offset;
    EXPECT_EQ(base::detail_of(status).reason, "WRONG_OFFSET");
  }
  EXPECT_EQ(send(upload->id, 1, 0, "x").code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(send(upload->id, -1, 0, "x").code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(send(upload->id, 0, 3, "345678901234").code(), StatusCode::kOutOfRange);
  EXPECT_EQ(store_->get_upload(upload->id)->received[0], 3);
}

TEST_F(ArtifactStoreTest, TwoWritersOfOneFileAreRefused) {
  const auto upload = store_->begin_upload("", {{"a", 10, ""}});
  const auto first = store_->write_file(upload->id, 0, 0);
  ASSERT_TRUE(first.ok());
  const auto second = store_->write_file(upload->id, 0, 0);
  EXPECT_EQ(base::detail_of(second.status()).reason, "UPLOAD_BUSY");
  EXPECT_EQ(base::detail_of(store_->finish_upload(upload->id).status()).reason, "UPLOAD_BUSY");
}

TEST_F(ArtifactStoreTest, ContentWithAnotherHashIsThrownAwayAndNothingIsRegistered) {
  const auto upload = store_->begin_upload("", {{"a", 5, base::sha256_hex("hello")}});
  ASSERT_TRUE(send(upload->id, 0, 0, "hellO").ok());
  const auto artifact = store_->finish_upload(upload->id);
  EXPECT_EQ(artifact.status().code(), StatusCode::kDataLoss);
  EXPECT_EQ(base::detail_of(artifact.status()).reason, "HASH_MISMATCH");
  EXPECT_EQ(count_files("blobs") + count_files("manifests"), 0U);
  // The right content can follow.
  EXPECT_EQ(store_->get_upload(upload->id)->received[0], 0);
  ASSERT_TRUE(send(upload->id, 0, 0, "hello").ok());
  EXPECT_TRUE(store_->finish_upload(upload->id).ok());
}

TEST_F(ArtifactStoreTest, AFullDiskIsSaidAndNothingIsHalfRegistered) {
  bool full = true;
  disk_.write = [&](int fd, const void* data, size_t size, off_t offset) -> ssize_t {
    if (full && offset >= 4) {
      errno = ENOSPC;
      return -1;
    }
    return real_disk().write(fd, data, full ? std::min<size_t>(size, 4) : size, offset);
  };
  open();
  const auto upload = store_->begin_upload("", {{"a", 10, ""}});
  const absl::Status status = send(upload->id, 0, 0, "0123456789");
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(base::detail_of(status).reason, "DISK_FULL");
  EXPECT_FALSE(store_->finish_upload(upload->id).ok());
  EXPECT_EQ(count_files("blobs") + count_files("manifests"), 0U);
  // Space was made: the upload goes on where it stopped.
  full = false;
  ASSERT_TRUE(send(upload->id, 0, 4, "456789").ok());
  EXPECT_EQ(read_all(store_->finish_upload(upload->id)->id, "a").value(), "0123456789");
}

TEST_F(ArtifactStoreTest, AnUploadThatCannotFitIsRefusedAtOnce) {
  disk_.free_bytes = [](const fs::path&) { return int64_t{100} << 20; };
  open();
  const auto upload = store_->begin_upload("", {{"a", int64_t{200} << 20, ""}});
  EXPECT_EQ(base::detail_of(upload.status()).reason, "DISK_FULL");
  EXPECT_EQ(count_files("uploads"), 0U);
  const int64_t most = int64_t{1} << 43;
  EXPECT_EQ(store_->begin_upload("", {{"a", most + 1, ""}}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(store_->begin_upload("", {{"a", -1, ""}}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(store_->begin_upload("", {{"a", 1, "XYZ"}}).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(ArtifactStoreTest, DamagedContentIsNeverGivenOutWhole) {
  const auto artifact = put({{"a", "0123456789"}});
  ASSERT_TRUE(artifact.ok());
  fs::permissions(blob("0123456789"), fs::perms::owner_write, fs::perm_options::add);
  std::ofstream(blob("0123456789"), std::ios::in | std::ios::out).seekp(8).put('x');
  EXPECT_EQ(read_all(artifact->id, "a").status().code(), StatusCode::kDataLoss);
  fs::resize_file(blob("0123456789"), 5);
  EXPECT_EQ(read_all(artifact->id, "a").status().code(), StatusCode::kDataLoss);
}

TEST_F(ArtifactStoreTest, AbandonedUploadsAreCollectedAtStart) {
  const auto upload = store_->begin_upload("", {{"a", 10, ""}});
  ASSERT_TRUE(send(upload->id, 0, 0, "0").ok());
  clock_.advance_ms(int64_t{23} * 3600 * 1000);
  open();
  EXPECT_TRUE(store_->get_upload(upload->id).ok());
  clock_.advance_ms(int64_t{2} * 3600 * 1000);
  open();
  EXPECT_EQ(store_->get_upload(upload->id).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(count_files("uploads"), 0U);
}

TEST_F(ArtifactStoreTest, IdsThatAreNotOursLeadNowhere) {
  for (const std::string id : {"../../etc", "upload-../../../etc/passwd0000", "", "upload-"}) {
    EXPECT_FALSE(store_->get_upload(id).ok()) << id;
    EXPECT_FALSE(store_->cancel_upload(id).ok()) << id;
    EXPECT_FALSE(store_->get(id).ok()) << id;
    EXPECT_FALSE(store_->remove(id).ok()) << id;
  }
}

TEST_F(ArtifactStoreTest, AViewHoldsTheFilesUnderTheirNamesWithoutCopies) {
  const auto artifact = put({{"config.json", "{}"}, {"sub/model.bin", "weights"}});
  const auto view = store_->view(artifact->id);
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(base::read_file(*view / "sub/model.bin"), "weights");
  EXPECT_EQ(fs::hard_link_count(*view / "config.json"), 2U);
  EXPECT_EQ(store_->view(artifact->id).value(), *view);
}

TEST_F(ArtifactStoreTest, RemovingKeepsWhatOthersShare) {
  const auto one = put({{"shared", "shared"}, {"own", "own"}});
  const auto two = put({{"shared", "shared"}});
  ASSERT_TRUE(store_->view(one->id).ok());
  ASSERT_TRUE(store_->remove(one->id).ok());
  EXPECT_EQ(store_->get(one->id).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(read_all(two->id, "shared").value(), "shared");
  EXPECT_FALSE(fs::exists(blob("own")));
  EXPECT_EQ(count_files("views"), 0U);
}

TEST_F(ArtifactStoreTest, ACancelledUploadIsGone) {
  const auto upload = store_->begin_upload("", {{"a", 10, ""}});
  ASSERT_TRUE(store_->cancel_upload(upload->id).ok());
  EXPECT_EQ(store_->get_upload(upload->id).status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace slipway::artifacts
