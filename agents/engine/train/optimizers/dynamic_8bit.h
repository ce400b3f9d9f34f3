// Numbers of 8 bits in blocks of 256 with one scale each, as bitsandbytes keeps optimizer moments: the "dynamic" code
// has a varying exponent, so that small values keep their leading digit (Dettmers et al. 2022, section 1.2). Used by
// optimizer.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace slipway::train {

inline constexpr int64_t kDynamicBlock = 256;

// The 256 values of the code, ascending, the largest 1.
const std::vector<float>& dynamic_values(bool is_signed);

// The code of 0 among the signed values.
int64_t signed_zero_code();

// values [blocks · 256] f32 = code's value · its block's scale. codes uint8, scales [blocks] f32; all on the CPU.
void read_dynamic(bool is_signed, const at::Tensor& codes, const at::Tensor& scales, at::Tensor values);
// The nearest codes, with each block's largest magnitude as its scale.
void write_dynamic(bool is_signed, const at::Tensor& values, at::Tensor codes, at::Tensor scales);

}  // namespace slipway::train
