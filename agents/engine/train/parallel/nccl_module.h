// The border between the trainer and libslipway_nccl.so, which alone links NCCL. No exception crosses it. Used by
// gpu_ring.cpp.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace slipway::train {

// What rank 0 makes, and all ranks need to find each other.
using NcclId = std::array<char, 128>;

// This rank's end of the connection among GPUs. What begins an operation returns false with the reason in `failure`. It
// is on the stream (a cudaStream_t) once state() says kReady, and done when the stream is. Nothing waits for other
// ranks but state(), which is asked again. Memory is the GPU's. One thread.
class NcclCommunicator {
 public:
  virtual ~NcclCommunicator() = default;  // ends what is still running

  enum class State { kWorking, kReady, kFailed };
  // Of the connection, and of what was begun last. kFailed: the reason is in `failure`.
  virtual State state(std::string& failure) noexcept = 0;

  // values become the sums over all ranks.
  virtual bool all_reduce(float* values, size_t count, void* stream, std::string& failure) noexcept = 0;
  // One part of so many elements for each rank: this rank's becomes the sum over all ranks.
  virtual bool reduce_scatter(float* values, size_t part, void* stream, std::string& failure) noexcept = 0;
  // One part of so many bytes for each rank: this rank's is given, the others are filled.
  virtual bool all_gather(std::byte* all, size_t part, void* stream, std::string& failure) noexcept = 0;
  // From rank 0 to everyone.
  virtual bool broadcast(std::byte* data, size_t bytes, void* stream, std::string& failure) noexcept = 0;
};

// What the module exports, under the names below. The communicator is of the calling thread's GPU; null with the reason
// in `failure`.
using MakeNcclId = bool(NcclId& id, std::string& failure);
using ConnectNccl = NcclCommunicator*(const NcclId& id, int64_t rank, int64_t size, std::string& failure);
inline constexpr char kMakeNcclId[] = "slipway_make_nccl_id";
inline constexpr char kConnectNccl[] = "slipway_connect_nccl";
inline constexpr char kNcclModule[] = "libslipway_nccl.so";

}  // namespace slipway::train
