// Transfers against a store in memory that breaks streams, lies about bytes, and counts what is asked of it.
#include "agents/node/transfer.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <map>

#include "backend/base/files.h"
#include "backend/base/sha256.h"

namespace slipway::node {
namespace {

namespace fs = std::filesystem;

class FakeArtifacts : public Artifacts {
 public:
  std::map<std::string, std::string> files;  // by path, of the one artifact there is
  std::map<std::string, std::string> lies;   // hash to claim instead
  size_t break_after = 0;                    // bytes of one stream, once
  bool corrupt_once = false;
  int downloads = 0, begins = 0;
  std::vector<int64_t> offsets;
  std::map<int, std::string> received;
  v1::BeginUploadRequest last_begin;

  absl::StatusOr<v1::Artifact> get(const std::string& id, Cancellation&) override {
    if (id != "artifact") return absl::NotFoundError("artifact '" + id + "' does not exist");
    v1::Artifact artifact;
    for (const auto& [path, content] : files) {
      auto* file = artifact.add_files();
      file->set_path(path);
      file->set_size(static_cast<int64_t>(content.size()));
      file->set_sha256(lies.count(path) ? lies[path] : base::sha256_hex(content));
    }
    return artifact;
  }
  absl::Status download(const std::string&, const std::string& path, int64_t offset,
                        const std::function<absl::Status(std::string_view)>& sink, Cancellation&) override {
    ++downloads;
    offsets.push_back(offset);
    std::string content = files.at(path).substr(static_cast<size_t>(offset));
    if (corrupt_once) {
      corrupt_once = false;
      content[0] ^= 1;
    }
    if (break_after > 0 && content.size() > break_after) {
      const auto status = sink(std::string_view(content).substr(0, break_after));
      break_after = 0;
      return status.ok() ? absl::UnavailableError("the backend went away") : status;
    }
    return sink(content);
  }
  absl::StatusOr<v1::Upload> begin_upload(const v1::BeginUploadRequest& request, Cancellation&) override {
    ++begins;
    last_begin = request;
    v1::Upload upload;
    upload.set_id("upload");
    for (int i = 0; i < request.files_size(); ++i) {
      auto* state = upload.add_files();
      state->set_path(request.files(i).path());
      state->set_size(request.files(i).size());
      state->set_received(static_cast<int64_t>(received[i].size()));
    }
    return upload;
  }
  absl::Status upload_file(const std::string&, int index, int64_t offset, const fs::path& file,
                           Cancellation&) override {
    const std::string content = base::read_file(file).substr(static_cast<size_t>(offset));
    if (break_after > 0 && content.size() > break_after) {
      received[index] += content.substr(0, break_after);
      break_after = 0;
      return absl::UnavailableError("the backend went away");
    }
    received[index] += content;
    return absl::OkStatus();
  }
  absl::StatusOr<v1::Artifact> finish_upload(const std::string&, Cancellation&) override {
    v1::Artifact artifact;
    artifact.set_id("made");
    return artifact;
  }
};

class TransferTest : public testing::Test {
 protected:
  base::TemporaryFolder folder_;
  FakeArtifacts store_;
  Cancellation cancellation_;
  Transfer transfer_{store_, folder_.path() / "cache", 1 << 20};
  fs::path work_ = folder_.path() / "work";
};

TEST_F(TransferTest, BringsFilesOnceAndLinksThemReadOnly) {
  store_.files = {{"model.gguf", "weights"}, {"deep/tokenizer.json", "{}"}, {"empty", ""}};
  ASSERT_TRUE(transfer_.fetch("artifact", work_ / "a", cancellation_).ok());
  EXPECT_EQ(base::read_file(work_ / "a/deep/tokenizer.json"), "{}");
  EXPECT_EQ(base::read_file(work_ / "a/empty"), "");
  ASSERT_TRUE(transfer_.fetch("artifact", work_ / "b", cancellation_).ok());
  EXPECT_EQ(store_.downloads, 2);
  struct stat one {
  }, two{};
  ASSERT_EQ(stat((work_ / "a/model.gguf").c_str(), &one), 0);
  ASSERT_EQ(stat((work_ / "b/model.gguf").c_str(), &two), 0);
  EXPECT_EQ(one.st_ino, two.st_ino);
  EXPECT_EQ(one.st_mode & 0222U, 0U);
}

TEST_F(TransferTest, GoesOnWhereABrokenDownloadEnded) {
  store_.files = {{"model", std::string(1000, 'x')}};
  store_.break_after = 400;
  ASSERT_TRUE(transfer_.fetch("artifact", work_, cancellation_).ok());
  EXPECT_EQ(store_.offsets, (std::vector<int64_t>{0, 400}));
}

TEST_F(TransferTest, FetchesAgainWhatArrivedBroken) {
  store_.files = {{"model", "weights"}};
  store_.corrupt_once = true;
  ASSERT_TRUE(transfer_.fetch("artifact", work_, cancellation_).ok());
  EXPECT_EQ(base::read_file(work_ / "model"), "weights");
}

TEST_F(TransferTest, RefusesContentThatNeverMatchesItsHashAndNamesThatLeaveTheFolder) {
  store_.files = {{"model", "weights"}};
  store_.lies = {{"model", base::sha256_hex("others")}};
  EXPECT_TRUE(absl::IsDataLoss(transfer_.fetch("artifact", work_, cancellation_)));
  EXPECT_FALSE(fs::exists(work_ / "model"));
  store_.files = {{"../outside", "x"}};
  store_.lies.clear();
  EXPECT_TRUE(absl::IsDataLoss(transfer_.fetch("artifact", work_, cancellation_)));
  EXPECT_TRUE(absl::IsNotFound(transfer_.fetch("other", work_, cancellation_)));
}

TEST_F(TransferTest, UploadsAFolderWithHashesAndResumes) {
  fs::create_directories(work_ / "sub");
  std::ofstream(work_ / "b.txt") << std::string(1000, 'b');
  std::ofstream(work_ / "sub/a.txt") << "a";
  store_.break_after = 300;
  const auto id = transfer_.publish(work_, cancellation_);
  ASSERT_TRUE(id.ok()) << id.status();
  EXPECT_EQ(*id, "made");
  EXPECT_EQ(store_.begins, 2);
  EXPECT_EQ(store_.last_begin.upload_id(), "upload");
  EXPECT_EQ(store_.last_begin.files(1).path(), "sub/a.txt");
  EXPECT_EQ(store_.last_begin.files(1).sha256(), base::sha256_hex("a"));
  EXPECT_EQ(store_.received[0], std::string(1000, 'b'));
  EXPECT_EQ(store_.received[1], "a");
}

TEST_F(TransferTest, RefusesLinksAndEmptyFolders) {
  fs::create_directories(work_);
  EXPECT_FALSE(transfer_.publish(work_, cancellation_).ok());
  fs::create_symlink("/etc/passwd", work_ / "link");
  EXPECT_FALSE(transfer_.publish(work_, cancellation_).ok());
}

TEST_F(TransferTest, CancelledWaitsEnd) {
  store_.files = {{"model", std::string(1000, 'x')}};
  store_.break_after = 1;
  cancellation_.cancel();
  EXPECT_TRUE(absl::IsCancelled(transfer_.fetch("artifact", work_, cancellation_)));
}

TEST_F(TransferTest, TrimsWhatNoWorkFolderUses) {
  Transfer small(store_, folder_.path() / "small", 10);
  store_.files = {{"one", "0123456789"}};
  ASSERT_TRUE(small.fetch("artifact", work_ / "1", cancellation_).ok());
  store_.files = {{"two", "abcdefghij"}};
  ASSERT_TRUE(small.fetch("artifact", work_ / "2", cancellation_).ok());
  fs::remove_all(work_ / "1");
  small.trim();
  EXPECT_FALSE(fs::exists(folder_.path() / "small" / base::sha256_hex("0123456789")));
  EXPECT_TRUE(fs::exists(folder_.path() / "small" / base::sha256_hex("abcdefghij")));
}

}  // namespace
}  // namespace slipway::node
