#include "agents/engine/train/parallel/group.h"

#include <ATen/ATen.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "backend/base/error.h"

namespace slipway::train {

namespace {

using std::chrono::seconds;

// How long ranks that start together may take to come, and a word about a lost one to arrive.
constexpr seconds kPatience{120}, kExplanation = kSilenceLimit + seconds(3);

std::string address_key(int64_t rank) { return "address/" + std::to_string(rank); }

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? std::string(name.data()) : std::string("localhost");
}

bool is_local(const std::string& host) { return host == "localhost" || host.starts_with("127.") || host == "::1"; }

base::Error lost(int64_t rank, int64_t size) {
  return {kRankLost,
          "rank " + std::to_string(rank) + " of " + std::to_string(size) +
              " is lost: it died, was stopped, or can no longer be reached",
          "start the ranks again, also with another number of them: they go on from the last checkpoint"};
}

template <typename T>
std::span<T> span_of(const at::Tensor& tensor) {
  return {tensor.data_ptr<T>(), static_cast<size_t>(tensor.numel())};
}

std::span<std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<std::byte*>(tensor.data_ptr()), tensor.nbytes()};
}

}  // namespace

Group::Group(const RankEnvironment& environment)
    : rank_(environment.rank),
      size_(environment.size),
      meeting_(environment.master_host, environment.master_port, environment.hosts_meeting, environment.size,
               environment.round),
      ring_(meet(environment)) {
  thread_ = std::thread([this] { work(); });
}

Group::~Group() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

// Everyone tells its address, connects to the next rank, and is connected to by the one before.
Ring Group::meet(const RankEnvironment& environment) {
  const bool local = is_local(environment.master_host);
  uint16_t port = 0;
  const Socket listener = listen_on(local ? "127.0.0.1" : "", port);
  meeting_.begin_beating(rank_);
  meeting_.set(address_key(rank_), (local ? "127.0.0.1" : host_name()) + " " + std::to_string(port));
  const int64_t following = (rank_ + 1) % size_;
  const std::string address = meeting_.get(address_key(following), kPatience);
  const size_t space = address.find(' ');
  Socket next =
      connect_to(address.substr(0, space), static_cast<uint16_t>(std::stoi(address.substr(space + 1))), kPatience);
  Socket previous = accept_from(listener, [this] { look_around(); });
  // Whoever came must be of this job: it says which rank it is.
  const int64_t expected = (rank_ + size_ - 1) % size_;
  int64_t came = -1;
  exchange(next, std::as_bytes(std::span(&rank_, 1)), previous, std::as_writable_bytes(std::span(&came, 1)),
           [this] { look_around(); });
  if (came != expected) {
    throw base::Error("RANK_UNREACHABLE",
                      "rank " + std::to_string(rank_) + " was called by rank " + std::to_string(came) + " instead of " +
                          std::to_string(expected),
                      "give each job a MASTER_PORT of its own");
  }
  return {rank_, size_, std::move(next), std::move(previous), [this] { look_around(); }};
}

// Whether somebody is lost or has failed, while this rank waits.
void Group::look_around() {
  const auto rank = meeting_.lost_rank();
  if (!rank) return;
  if (const auto failure = meeting_.look("failure")) {
    const nlohmann::json said = nlohmann::json::parse(*failure, nullptr, false);
    if (said.is_object())
      throw base::Error(said.value("code", ""), said.value("message", ""), said.value("advice", ""));
  }
  throw lost(*rank, size_);
}

void Group::look_around_for(std::chrono::milliseconds time) {
  const auto deadline = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < deadline) {
    look_around();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
}

// A neighbour has gone: because of another that is lost, or it is itself.
void Group::explain(const ConnectionClosed& closed) {
  const int64_t neighbour = closed.sending ? (rank_ + 1) % size_ : (rank_ + size_ - 1) % size_;
  look_around_for(std::chrono::milliseconds(1500));
  meeting_.say_lost(neighbour);
  throw lost(neighbour, size_);
}

// Because of a rank that is lost, as its silence will tell, or of itself.
void Group::explain(const GpuRingBroken& broken) {
  look_around_for(kExplanation);
  throw base::Error("NCCL_FAILED", "NCCL, which connects the ranks' GPUs, has failed: " + broken.reason,
                    "start again: training goes on from the last checkpoint. NCCL_DEBUG=INFO in the environment tells "
                    "more; NCCL_SOCKET_IFNAME names the network to use between machines");
}

void Group::work() {
  for (;;) {
    std::packaged_task<void()> task;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return ending_ || !queue_.empty(); });
      if (queue_.empty()) return;
      task = std::move(queue_.front());
      queue_.pop_front();
    }
    task();
  }
}

Group::Pending Group::submit(std::function<void(Ring&)> work) {
  std::packaged_task<void()> task([this, work = std::move(work)] {
    try {
      work(ring_);
    } catch (const ConnectionClosed& closed) {
      explain(closed);
    } catch (const GpuRingBroken& broken) {
      explain(broken);
    }
  });
  Pending pending = task.get_future();
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(task));
  }
  changed_.notify_all();
  return pending;
}

Group::Pending Group::submit(at::Tensor values, OnGpu on_gpu, OnCpu on_cpu) {
  if (gpu_ring_ && values.is_cuda()) {
    return submit([this, values = std::move(values), on_gpu, mark = gpu_ring_->mark()](Ring&) {
      (*gpu_ring_.*on_gpu)(values, mark);
    });
  }
  return submit([values = std::move(values), on_cpu](Ring& ring) {
    const at::Tensor here = values.to(at::kCPU);
    on_cpu(ring, here);
    if (!values.is_cpu()) values.copy_(here);
  });
}

bool Group::place(at::Device device) {
  const auto nccl = device.is_cuda() ? load_nccl() : std::nullopt;
  if (any(!nccl)) return false;
  std::string id;
  if (is_first()) {
    submit([&](Ring&) {
      const NcclId made = make_nccl_id(*nccl);
      id.assign(made.begin(), made.end());
    }).get();
  }
  id = broadcast(std::move(id));
  submit([&](Ring&) {
    NcclId shared{};
    std::copy(id.begin(), id.end(), shared.begin());
    gpu_ring_ = std::make_unique<GpuRing>(*nccl, shared, rank_, size_, device, [this] { look_around(); });
  }).get();
  return true;
}

Group::Pending Group::begin_all_reduce(at::Tensor values) {
  return submit(std::move(values), &GpuRing::all_reduce,
                [](Ring& ring, const at::Tensor& here) { ring.all_reduce(span_of<float>(here)); });
}

Group::Pending Group::begin_all_gather(at::Tensor all) {
  return submit(std::move(all), &GpuRing::all_gather,
                [](Ring& ring, const at::Tensor& here) { ring.all_gather(bytes_of(here)); });
}

Group::Pending Group::begin_reduce_scatter(at::Tensor values) {
  return submit(std::move(values), &GpuRing::reduce_scatter,
                [](Ring& ring, const at::Tensor& here) { ring.reduce_scatter(span_of<float>(here)); });
}

void Group::all_reduce(const at::Tensor& values) { begin_all_reduce(values).get(); }

void Group::all_reduce(std::span<double> values) {
  submit([values](Ring& ring) { ring.all_reduce(values); }).get();
}

bool Group::any(bool here) {
  double sum = here ? 1 : 0;
  all_reduce(std::span(&sum, 1));
  return sum > 0;
}

void Group::broadcast(const at::Tensor& values) {
  submit(values, &GpuRing::broadcast, [](Ring& ring, const at::Tensor& here) { ring.broadcast(bytes_of(here)); }).get();
}

std::string Group::broadcast(std::string text) {
  uint64_t size = text.size();
  submit([&](Ring& ring) {
    ring.broadcast(std::as_writable_bytes(std::span(&size, 1)));
    text.resize(size);
    ring.broadcast(std::as_writable_bytes(std::span(text)));
  }).get();
  return text;
}

void Group::fail(const std::string& code, const std::string& message, const std::string& advice) {
  const nlohmann::json failure = {
      {"code", code}, {"message", "rank " + std::to_string(rank_) + ": " + message}, {"advice", advice}};
  meeting_.set("failure", failure.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  meeting_.say_lost(rank_);
}

}  // namespace slipway::train
