#include "agents/engine/train/checkpoints/tensor_stream.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <numeric>
#include <string>
#include <thread>

#include "agents/engine/train/checkpoints/hashed_file.h"
#include "backend/base/error.h"
#include "backend/base/files.h"

namespace slipway::train {
namespace {

std::vector<uint32_t> numbers(size_t count, uint32_t first) {
  std::vector<uint32_t> values(count);
  std::iota(values.begin(), values.end(), first);
  return values;
}

std::span<const std::byte> bytes(const std::vector<uint32_t>& values) { return std::as_bytes(std::span(values)); }

class Streams : public testing::Test {
 protected:
  static constexpr size_t kFirst = 3001, kSecond = 50;
  // What is read of it from now on, up to its end.
  std::vector<uint32_t> rest(size_t count, size_t piece) {
    std::vector<uint32_t> found(count);
    std::span<std::byte> left = std::as_writable_bytes(std::span(found));
    for (; !left.empty(); left = left.subspan(std::min(piece, left.size()))) {
      stream_.read(left.first(std::min(piece, left.size())));
    }
    return found;
  }

  std::vector<uint32_t> first_ = numbers(kFirst, 1), empty_, second_ = numbers(kSecond, 9000), lasting_ = {77, 78};
  TensorStream stream_{
      {{bytes(first_), true}, {bytes(empty_), true}, {bytes(second_), true}, {bytes(lasting_), false}}};
  const std::vector<uint32_t> all_ = [&] {
    std::vector<uint32_t> all = first_;
    all.insert(all.end(), second_.begin(), second_.end());
    all.insert(all.end(), lasting_.begin(), lasting_.end());
    return all;
  }();
};

TEST_F(Streams, GiveThePartsOneAfterTheOther) { EXPECT_EQ(rest(all_.size(), 7), all_); }

TEST_F(Streams, GiveWhatWasThereWhenTheyWereDetachedAtAnyPlace) {
  for (const size_t read_before : {size_t{0}, size_t{4}, size_t{4096}, kFirst * 4, (kFirst + kSecond) * 4}) {
    std::vector<uint32_t> first = first_, second = second_;
    TensorStream stream({{bytes(first), true}, {bytes(second), true}, {bytes(lasting_), false}});
    std::vector<uint32_t> found(all_.size());
    const std::span<std::byte> room = std::as_writable_bytes(std::span(found));
    stream.read(room.first(read_before));
    stream.detach();
    std::fill(first.begin(), first.end(), 0);
    std::fill(second.begin(), second.end(), 0);
    stream.detach();  // at the next step: nothing new
    stream.read(room.subspan(read_before));
    EXPECT_EQ(found, all_) << read_before;
  }
}

TEST_F(Streams, AreReadByOneThreadWhileAnotherDetaches) {
  std::vector<uint32_t> found;
  std::thread reader([&] { found = rest(all_.size(), 8); });
  stream_.detach();
  std::fill(first_.begin(), first_.end(), 0);
  std::fill(second_.begin(), second_.end(), 0);
  reader.join();
  EXPECT_EQ(found, all_);
}

TEST(HashedFiles, HoldWhatWasAppendedWhateverItsSize) {
  const base::TemporaryFolder folder;
  for (const size_t size : {0, 1, 4096, 5000, 1 << 20, (1 << 20) + 4096, 3000001}) {
    std::string content(size, ' ');
    for (size_t i = 0; i < size; ++i) content[i] = static_cast<char>(i * 31 + i / 256);
    const auto path = folder.path() / std::to_string(size);
    HashedFile file(path);
    file.append("head");
    file.append(content);
    file.finish();
    EXPECT_EQ(base::read_file(path), "head" + content);
    EXPECT_EQ(file.size(), size + 4);
    EXPECT_EQ(file.sha256(), base::sha256_file(path));
  }
}

TEST(HashedFiles, AreNewOnes) {
  const base::TemporaryFolder folder;
  base::write_file_atomically(folder.path() / "old", "kept");
  EXPECT_THROW(HashedFile(folder.path() / "old"), base::Error);
  EXPECT_THROW(HashedFile(folder.path() / "missing/new"), base::Error);
  EXPECT_EQ(base::read_file(folder.path() / "old"), "kept");
}

TEST(HashedFiles, OfWhichOnlyAPartFitsFail) {
  const base::TemporaryFolder folder;
  rlimit old_limit{};
  getrlimit(RLIMIT_FSIZE, &old_limit);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{5000, old_limit.rlim_max};  // within a block
  setrlimit(RLIMIT_FSIZE, &limit);
  HashedFile file(folder.path() / "large");
  EXPECT_THROW(file.append(std::string(3 << 20, 'x')), base::Error);
  setrlimit(RLIMIT_FSIZE, &old_limit);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(std::filesystem::file_size(folder.path() / "large"), 5000U);
}

}  // namespace
}  // namespace slipway::train
