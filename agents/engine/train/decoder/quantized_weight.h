// A frozen weight in 4 or 8 bits, as bitsandbytes stores it, brought back whenever it is used (Dettmers et al. 2023).
// Used by adapted_linear.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "agents/engine/train/settings.h"

namespace slipway::train {

// One thread.
class QuantizedWeight {
 public:
  // rows [out, in] f32 on the CPU; quantization is not kNone.
  // NF4: blocks of 64 neighbours, each with its largest magnitude, and the nearest of the 16 quantiles of a normal
  // distribution. Double quantization: the blocks' magnitudes less their mean in 8 bits, in blocks of 256. INT8: rows
  // with their largest magnitude, in 127ths.
  QuantizedWeight(const at::Tensor& rows, Quantization quantization, bool double_quantization);

  // All of it as bytes, a multiple of 8, and back; in between it may be dropped.
  at::Tensor packed() const;
  int64_t packed_bytes() const;
  void unpack(const at::Tensor& bytes);
  void drop();

  int64_t out_features() const { return out_; }
  // The values into `rows` [out, in] f32 or bf16, contiguous, on the CPU.
  void read(at::Tensor rows) const;

 private:
  struct Piece {
    int64_t elements = 0;
    at::ScalarType type = at::kByte;
    int64_t bytes() const { return elements * (type == at::kByte ? 1 : 4); }
    int64_t padded_bytes() const { return (bytes() + 7) / 8 * 8; }
  };
  std::vector<at::Tensor*> tensors() { return {&codes_, &scales_, &scale_codes_, &scale_scales_}; }
  void quantize_nf4(const float* values, bool double_quantization);
  void quantize_int8(const float* values);
  at::Tensor block_scales() const;
  template <typename T>
  void read_as(T* target) const;

  int64_t out_ = 0, in_ = 0;
  Quantization quantization_;
  at::Tensor codes_;   // uint8: two NF4 codes each, the first in the high half; or one int8
  at::Tensor scales_;  // f32, of blocks or rows; undefined with double quantization
  at::Tensor scale_codes_, scale_scales_;
  float scale_mean_ = 0;
  std::vector<Piece> pieces_;  // beside tensors()
};

}  // namespace slipway::train
