// Where the ranks of a job meet: a key-value store (libtorch's TCPStore) that holds their addresses, their signs of
// life, and what a failing rank has to say. Used by group.cpp and launcher.cpp.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace slipway::train {

// A rank without a sign of life for so long is lost: well above what a busy machine delays one, well below 30 s.
inline constexpr std::chrono::seconds kSilenceLimit{12};

// Tells from changing counters who has fallen silent. One thread.
class Silence {
 public:
  using Time = std::chrono::steady_clock::time_point;
  explicit Silence(int64_t size) : last_(static_cast<size_t>(size)) {}
  // The counters of all ranks as they are at `now` -> a rank that has not counted since `limit`.
  std::optional<int64_t> look(const std::vector<std::string>& counters, Time now, std::chrono::seconds limit);

 private:
  struct Seen {
    std::string counter;
    std::optional<Time> since;
  };
  std::vector<Seen> last_;
};

// Any thread. What does not come in time, or a host that is gone, throws base::Error RANK_LOST naming rank 0.
class Meeting {
 public:
  // hosts: opens `port` on this machine; 0 chooses one. Else connects to host and port. round: of several starts that
  // share one store.
  Meeting(const std::string& host, uint16_t port, bool hosts, int64_t size, std::string round);
  ~Meeting();
  Meeting(const Meeting&) = delete;
  Meeting& operator=(const Meeting&) = delete;

  uint16_t port() const;
  void set(const std::string& key, const std::string& value);
  // Waits for the key.
  std::string get(const std::string& key, std::chrono::seconds patience);
  // The value, or nothing when nobody has set it.
  std::optional<std::string> look(const std::string& key);

  // Begins to count this rank's beats, once a second, by a thread of its own.
  void begin_beating(int64_t rank);
  // A rank that is known to be lost or to have fallen silent; looks at most twice a second.
  std::optional<int64_t> lost_rank();
  // Says who is lost, unless it was said already.
  void say_lost(int64_t rank);

 private:
  struct Store;
  void beat(int64_t rank);

  int64_t size_;
  std::string round_;
  std::unique_ptr<Store> store_;
  Silence silence_;
  std::chrono::steady_clock::time_point last_look_{};
  std::mutex mutex_;
  std::condition_variable ended_;
  bool ending_ = false;
  std::thread beating_;
};

}  // namespace slipway::train
