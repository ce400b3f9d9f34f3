// libslipway_nccl.so: sums and copies among GPUs by NCCL. Built by the cuda preset alone. See nccl_module.h.
#include "agents/engine/train/parallel/nccl_module.h"

#include <nccl.h>

#include <chrono>
#include <cstring>
#include <exception>
#include <future>
#include <memory>
#include <thread>
#include <utility>

namespace slipway::train {

namespace {

static_assert(sizeof(NcclId) == sizeof(ncclUniqueId));

// How long a connection may take to end.
constexpr std::chrono::seconds kEndLimit{5};

// What was begun and goes on is no failure.
bool goes_well(ncclResult_t result, ncclComm_t communicator, std::string& failure) {
  if (result == ncclSuccess || result == ncclInProgress) return true;
  failure = ncclGetErrorString(result);
  if (const char* const said = ncclGetLastError(communicator); said != nullptr && *said != '\0') {
    failure.append(": ").append(said);
  }
  return false;
}

class Communicator : public NcclCommunicator {
 public:
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;
  explicit Communicator(int64_t rank) : rank_(static_cast<size_t>(rank)) {}

  bool connect(const NcclId& id, int64_t size, std::string& failure) {
    ncclUniqueId unique;
    std::memcpy(&unique, id.data(), id.size());
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;  // only so can it be ended while it waits for a rank that is lost
    return goes_well(
        ncclCommInitRankConfig(&communicator_, static_cast<int>(size), unique, static_cast<int>(rank_), &config),
        communicator_, failure);
  }

  // Where a broken network holds even this up, the process must come to its end all the same: the thread is left alone.
  ~Communicator() override {
    if (communicator_ == nullptr) return;
    try {
      std::packaged_task<void()> end([communicator = communicator_] { ncclCommAbort(communicator); });
      const std::future<void> ended = end.get_future();
      std::thread(std::move(end)).detach();
      ended.wait_for(kEndLimit);
    } catch (const std::exception&) {
      ncclCommAbort(communicator_);
    }
  }

  State state(std::string& failure) noexcept override {
    ncclResult_t result = ncclSuccess;
    const ncclResult_t asked = ncclCommGetAsyncError(communicator_, &result);
    if (!goes_well(asked, communicator_, failure) || !goes_well(result, communicator_, failure)) return State::kFailed;
    return result == ncclInProgress ? State::kWorking : State::kReady;
  }

  bool all_reduce(float* values, size_t count, void* stream, std::string& failure) noexcept override {
    return goes_well(
        ncclAllReduce(values, values, count, ncclFloat32, ncclSum, communicator_, static_cast<cudaStream_t>(stream)),
        communicator_, failure);
  }

  bool reduce_scatter(float* values, size_t part, void* stream, std::string& failure) noexcept override {
    return goes_well(ncclReduceScatter(values, values + rank_ * part, part, ncclFloat32, ncclSum, communicator_,
                                       static_cast<cudaStream_t>(stream)),
                     communicator_, failure);
  }

  bool all_gather(std::byte* all, size_t part, void* stream, std::string& failure) noexcept override {
    return goes_well(
        ncclAllGather(all + rank_ * part, all, part, ncclUint8, communicator_, static_cast<cudaStream_t>(stream)),
        communicator_, failure);
  }

  bool broadcast(std::byte* data, size_t bytes, void* stream, std::string& failure) noexcept override {
    return goes_well(ncclBroadcast(data, data, bytes, ncclUint8, 0, communicator_, static_cast<cudaStream_t>(stream)),
                     communicator_, failure);
  }

 private:
  size_t rank_;
  ncclComm_t communicator_ = nullptr;
};

}  // namespace
}  // namespace slipway::train

extern "C" __attribute__((visibility("default"))) bool slipway_make_nccl_id(slipway::train::NcclId& id,
                                                                            std::string& failure) {
  ncclUniqueId unique;
  if (!slipway::train::goes_well(ncclGetUniqueId(&unique), nullptr, failure)) return false;
  std::memcpy(id.data(), &unique, id.size());
  return true;
}

extern "C" __attribute__((visibility("default"))) slipway::train::NcclCommunicator* slipway_connect_nccl(
    const slipway::train::NcclId& id, int64_t rank, int64_t size, std::string& failure) {
  try {
    auto communicator = std::make_unique<slipway::train::Communicator>(rank);
    if (communicator->connect(id, size, failure)) return communicator.release();
  } catch (const std::exception& error) {
    failure = error.what();
  }
  return nullptr;
}
