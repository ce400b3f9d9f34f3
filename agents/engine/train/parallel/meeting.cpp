#include "agents/engine/train/parallel/meeting.h"

#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <utility>

#include "agents/engine/train/parallel/rank_environment.h"
#include "backend/base/error.h"

namespace slipway::train {

namespace {

using SteadyClock = std::chrono::steady_clock;
constexpr char kLost[] = "lost";

std::string beat_key(int64_t rank) { return "beat/" + std::to_string(rank); }

std::vector<uint8_t> bytes_of(const std::string& text) { return {text.begin(), text.end()}; }

std::string text_of(const std::vector<uint8_t>& bytes) { return {bytes.begin(), bytes.end()}; }

// libtorch's exceptions of a store end here.
template <typename Use>
auto guarded(const Use& use) {
  try {
    return use();
  } catch (const std::exception& error) {
    throw base::Error(
        kRankLost,
        std::string("the ranks' meeting point, which rank 0 or its launcher keeps, is gone: ") + error.what(),
        "start all ranks again: they go on from the last checkpoint");
  }
}

}  // namespace

std::optional<int64_t> Silence::look(const std::vector<std::string>& counters, Time now, std::chrono::seconds limit) {
  for (size_t rank = 0; rank < counters.size(); ++rank) {
    Seen& seen = last_[rank];
    if (!seen.since || seen.counter != counters[rank]) {
      seen = {counters[rank], now};
    } else if (now - *seen.since > limit) {
      return static_cast<int64_t>(rank);
    }
  }
  return std::nullopt;
}

struct Meeting::Store {
  c10::intrusive_ptr<c10d::TCPStore> tcp;
  c10::intrusive_ptr<c10d::Store> of_beats;  // a connection of its own, so that beats wait for nothing
};

Meeting::Meeting(const std::string& host, uint16_t port, bool hosts, int64_t size, std::string round)
    : size_(size), round_(std::move(round)), silence_(size) {
  store_ = std::make_unique<Store>();
  guarded([&] {
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = hosts;
    options.waitWorkers = false;
    options.timeout = std::chrono::seconds(60);
    store_->tcp = c10::make_intrusive<c10d::TCPStore>(host, options);
    return 0;
  });
}

Meeting::~Meeting() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  ended_.notify_all();
  if (beating_.joinable()) beating_.join();
}

uint16_t Meeting::port() const { return store_->tcp->getPort(); }

void Meeting::set(const std::string& key, const std::string& value) {
  guarded([&] { return store_->tcp->set(round_ + key, bytes_of(value)), 0; });
}

std::string Meeting::get(const std::string& key, std::chrono::seconds patience) {
  return guarded([&] {
    store_->tcp->wait({round_ + key}, patience);
    return text_of(store_->tcp->get(round_ + key));
  });
}

std::optional<std::string> Meeting::look(const std::string& key) {
  return guarded([&]() -> std::optional<std::string> {
    if (!store_->tcp->check({round_ + key})) return std::nullopt;
    return text_of(store_->tcp->get(round_ + key));
  });
}

void Meeting::begin_beating(int64_t rank) {
  guarded([&] {
    store_->of_beats = store_->tcp->clone();
    return 0;
  });
  beating_ = std::thread([this, rank] { beat(rank); });
}

void Meeting::beat(int64_t rank) {
  int64_t count = 0;
  for (std::unique_lock lock(mutex_); !ending_; ended_.wait_for(lock, std::chrono::seconds(1))) {
    lock.unlock();
    try {
      store_->of_beats->set(round_ + beat_key(rank), bytes_of(std::to_string(++count)));
    } catch (const std::exception&) {
      return;  // the others are gone, as the next operation with them will say
    }
    lock.lock();
  }
}

std::optional<int64_t> Meeting::lost_rank() {
  const SteadyClock::time_point now = SteadyClock::now();
  if (now - last_look_ < std::chrono::milliseconds(400)) return std::nullopt;
  last_look_ = now;
  if (const auto said = look(kLost)) return std::stoll(*said);
  std::vector<std::string> counters;
  for (int64_t rank = 0; rank < size_; ++rank) {
    counters.push_back(look(beat_key(rank)).value_or("-"));
  }
  const auto silent = silence_.look(counters, now, kSilenceLimit);
  if (silent) say_lost(*silent);
  return silent;
}

void Meeting::say_lost(int64_t rank) {
  guarded([&] { return store_->tcp->compareSet(round_ + kLost, {}, bytes_of(std::to_string(rank))), 0; });
}

}  // namespace slipway::train
