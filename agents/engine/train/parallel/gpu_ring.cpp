#include "agents/engine/train/parallel/gpu_ring.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "agents/engine/runtime/grammar.h"
#include "backend/base/error.h"

namespace slipway::train {

namespace {

using SteadyClock = std::chrono::steady_clock;
using std::chrono::microseconds;

// Between two looks at the GPU, growing while nothing happens; and between two at the other ranks.
constexpr microseconds kFirstPause{20}, kLongestPause{1000};
constexpr std::chrono::milliseconds kLook{500};
// How long the GPUs of ranks that are all there may take to find each other.
constexpr std::chrono::seconds kConnectLimit{120};

c10::impl::VirtualGuardImpl gpus() { return c10::impl::VirtualGuardImpl(at::kCUDA); }

size_t part_of(size_t all, int64_t size) { return all / static_cast<size_t>(size); }

std::byte* bytes_of(const at::Tensor& tensor) { return static_cast<std::byte*>(tensor.data_ptr()); }

}  // namespace

std::optional<NcclModule> load_nccl() {
  for (const auto& folder : runtime::module_folders()) {
    void* const library = dlopen((folder / kNcclModule).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) continue;
    const NcclModule module{reinterpret_cast<MakeNcclId*>(dlsym(library, kMakeNcclId)),
                            reinterpret_cast<ConnectNccl*>(dlsym(library, kConnectNccl))};
    if (module.make_id != nullptr && module.connect != nullptr) return module;
  }
  return std::nullopt;
}

NcclId make_nccl_id(const NcclModule& module) {
  NcclId id{};
  std::string failure;
  if (!module.make_id(id, failure)) throw GpuRingBroken{failure};
  return id;
}

GpuRing::GpuRing(const NcclModule& module, const NcclId& id, int64_t rank, int64_t size, at::Device device,
                 WhileWaiting waiting)
    : size_(size),
      device_(device),
      waiting_(std::move(waiting)),
      stream_(gpus().getStreamFromGlobalPool(device, /*isHighPriority=*/true)) {
  const c10::DeviceGuard guard(device_);
  std::string failure;
  communicator_.reset(module.connect(id, rank, size, failure));
  if (!communicator_) throw GpuRingBroken{failure};
  const auto deadline = SteadyClock::now() + kConnectLimit;
  wait_until([&] {
    if (SteadyClock::now() > deadline) end("the ranks' GPUs have not found each other");
    return is_ready();
  });
}

GpuRing::Mark GpuRing::mark() const {
  auto event = std::make_shared<c10::Event>(at::kCUDA);
  event->record(gpus().getStream(device_));
  return event;
}

void GpuRing::end(const std::string& reason) {
  communicator_.reset();
  throw GpuRingBroken{reason};
}

bool GpuRing::is_ready() {
  std::string failure;
  const NcclCommunicator::State state = communicator_->state(failure);
  if (state == NcclCommunicator::State::kFailed) end(failure);
  return state == NcclCommunicator::State::kReady;
}

void GpuRing::wait_until(const std::function<bool()>& done) {
  microseconds pause = kFirstPause;
  auto next_look = SteadyClock::now() + kLook;
  while (!done()) {
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 3 / 2, kLongestPause);
    if (SteadyClock::now() < next_look) continue;
    next_look += kLook;
    try {
      waiting_();
    } catch (...) {
      communicator_.reset();  // what waits for a lost rank on the GPU ends here
      throw;
    }
  }
}

void GpuRing::run(const Mark& mark, const Begin& begin) {
  if (!communicator_) {
    throw base::Error("NCCL_FAILED",
                      "the ranks' GPUs are no longer connected, since an operation before this one failed",
                      "start again: training goes on from the last checkpoint");
  }
  const c10::DeviceGuard guard(device_);
  mark->block(stream_);
  std::string failure;
  if (!begin(stream_.native_handle(), failure)) end(failure);
  wait_until([&] { return is_ready(); });
  c10::Event done(at::kCUDA);
  done.record(stream_);
  wait_until([&] {
    if (done.query()) return true;
    static_cast<void>(is_ready());
    return false;
  });
}

void GpuRing::all_reduce(const at::Tensor& values, const Mark& mark) {
  run(mark, [&](void* stream, std::string& failure) {
    return communicator_->all_reduce(values.data_ptr<float>(), static_cast<size_t>(values.numel()), stream, failure);
  });
}

void GpuRing::reduce_scatter(const at::Tensor& values, const Mark& mark) {
  run(mark, [&](void* stream, std::string& failure) {
    return communicator_->reduce_scatter(values.data_ptr<float>(), part_of(static_cast<size_t>(values.numel()), size_),
                                         stream, failure);
  });
}

void GpuRing::all_gather(const at::Tensor& all, const Mark& mark) {
  run(mark, [&](void* stream, std::string& failure) {
    return communicator_->all_gather(bytes_of(all), part_of(all.nbytes(), size_), stream, failure);
  });
}

void GpuRing::broadcast(const at::Tensor& data, const Mark& mark) {
  run(mark, [&](void* stream, std::string& failure) {
    return communicator_->broadcast(bytes_of(data), data.nbytes(), stream, failure);
  });
}

}  // namespace slipway::train
