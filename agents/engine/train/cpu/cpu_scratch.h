// Memory of one call of a kernel.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <new>

namespace slipway::train {
namespace {

// `count` elements, not initialised, at a cache line's begin.
template <typename Element>
class Scratch {
 public:
  explicit Scratch(int64_t count)
      : data_(static_cast<Element*>(
            std::aligned_alloc(64, (static_cast<size_t>(count) * sizeof(Element) + 127) / 64 * 64))) {
    if (data_ == nullptr) throw std::bad_alloc();
  }
  ~Scratch() { std::free(data_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  Element* get() { return data_; }

 private:
  Element* data_;
};

}  // namespace
}  // namespace slipway::train
