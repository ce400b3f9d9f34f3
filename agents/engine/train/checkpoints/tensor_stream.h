// The bytes of tensors on their way into a checkpoint, while training is about to change them. Used by run_state.cpp.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

namespace slipway::train {

// One thread reads; another detaches.
class TensorStream {
 public:
  struct Part {
    std::span<const std::byte> data;
    bool changes = false;  // after detach(); else it stays as it is until the stream is gone
  };
  explicit TensorStream(std::vector<Part> parts) : parts_(std::move(parts)) {}

  // The parts' next bytes, one part after the other; there must be as many.
  void read(std::span<std::byte> to);

  // From its return on the parts that change may do so: what has not been read of them is read from a copy. Waits for a
  // read() under way.
  void detach();

 private:
  std::mutex mutex_;
  std::vector<Part> parts_;
  size_t part_ = 0;  // the one that is being read; of its data is left what has not been
  std::vector<std::unique_ptr<std::byte[]>> copies_;
};

}  // namespace slipway::train
