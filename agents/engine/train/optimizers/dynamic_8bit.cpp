#include "agents/engine/train/optimizers/dynamic_8bit.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace slipway::train {

namespace {

// bitsandbytes.functional.create_dynamic_map: for each of seven decades, equal steps whose number doubles.
std::vector<float> make_values(bool is_signed) {
  constexpr int kDecades = 7;
  std::vector<float> values;
  for (int decade = 0; decade < kDecades; ++decade) {
    const int steps = 1 << (decade + (is_signed ? 0 : 1));
    const double magnitude = std::pow(10.0, decade - (kDecades - 1));
    for (int i = 0; i < steps; ++i) {
      const double middle = 0.1 + 0.9 * (i + 0.5) / steps;
      values.push_back(static_cast<float>(magnitude * middle));
      if (is_signed) values.push_back(static_cast<float>(-magnitude * middle));
    }
  }
  values.push_back(0.0F);
  values.push_back(1.0F);
  std::sort(values.begin(), values.end());
  return values;
}

// Where one code ends and the next begins.
std::array<float, 255> boundaries(bool is_signed) {
  const std::vector<float>& values = dynamic_values(is_signed);
  std::array<float, 255> result{};
  for (size_t i = 0; i < result.size(); ++i) result[i] = 0.5F * (values[i] + values[i + 1]);
  return result;
}

}  // namespace

const std::vector<float>& dynamic_values(bool is_signed) {
  static const std::vector<float> kSigned = make_values(true), kUnsigned = make_values(false);
  return is_signed ? kSigned : kUnsigned;
}

int64_t signed_zero_code() {
  const std::vector<float>& values = dynamic_values(true);
  return std::find(values.begin(), values.end(), 0.0F) - values.begin();
}

void read_dynamic(bool is_signed, const at::Tensor& codes, const at::Tensor& scales, at::Tensor values) {
  const float* const table = dynamic_values(is_signed).data();
  const uint8_t* const code = codes.data_ptr<uint8_t>();
  const float* const scale = scales.data_ptr<float>();
  float* const out = values.data_ptr<float>();
  at::parallel_for(0, scales.numel(), 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * kDynamicBlock; i < end * kDynamicBlock; ++i) {
      out[i] = table[code[i]] * scale[i / kDynamicBlock];
    }
  });
}

void write_dynamic(bool is_signed, const at::Tensor& values, at::Tensor codes, at::Tensor scales) {
  static const std::array<float, 255> kSigned = boundaries(true), kUnsigned = boundaries(false);
  const float* const boundary = (is_signed ? kSigned : kUnsigned).data();
  const float* const in = values.data_ptr<float>();
  uint8_t* const code = codes.data_ptr<uint8_t>();
  float* const scale = scales.data_ptr<float>();
  at::parallel_for(0, scales.numel(), 64, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const float* const x = in + block * kDynamicBlock;
      float largest = 0;
      for (int64_t i = 0; i < kDynamicBlock; ++i) largest = std::max(largest, std::fabs(x[i]));
      scale[block] = largest;
      const float inverse = largest > 0 ? 1.0F / largest : 0.0F;
      for (int64_t i = 0; i < kDynamicBlock; ++i) {
        const float value = x[i] * inverse;
        unsigned index = 0;  // how many boundaries lie below: eight halvings of 256
        for (unsigned step = 128; step > 0; step /= 2) {
          const unsigned next = index + step;
          index = boundary[next - 1] < value ? next : index;
        }
        code[block * kDynamicBlock + i] = static_cast<uint8_t>(index);
      }
    }
  });
}

}  // namespace slipway::train
