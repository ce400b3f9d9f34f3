#include "agents/engine/train/decoder/quantized_weight.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "agents/engine/train/optimizers/dynamic_8bit.h"

namespace slipway::train {

namespace {

constexpr int64_t kBlock = 64;
// bitsandbytes.functional.get_4bit_type("nf4").
constexpr std::array<float, 16> kNf4 = {-1.0F,
                                        -0.6961928009986877F,
                                        -0.5250730514526367F,
                                        -0.39491748809814453F,
                                        -0.28444138169288635F,
                                        -0.18477343022823334F,
                                        -0.09105003625154495F,
                                        0.0F,
                                        0.07958029955625534F,
                                        0.16093020141124725F,
                                        0.24611230194568634F,
                                        0.33791524171829224F,
                                        0.44070982933044434F,
                                        0.5626170039176941F,
                                        0.7229568362236023F,
                                        1.0F};

uint8_t nearest_nf4(float x) {
  uint8_t code = 0;
  while (code < 15 && x > 0.5F * (kNf4[code] + kNf4[code + 1U])) ++code;
  return code;
}

float largest_magnitude(const float* values, int64_t count) {
  float largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(values[i]));
  return largest;
}

}  // namespace

QuantizedWeight::QuantizedWeight(const at::Tensor& rows, Quantization quantization, bool double_quantization)
    : out_(rows.size(0)), in_(rows.size(1)), quantization_(quantization) {
  const at::Tensor values = rows.contiguous();
  if (quantization == Quantization::kNf4) {
    quantize_nf4(values.data_ptr<float>(), double_quantization);
  } else {
    quantize_int8(values.data_ptr<float>());
  }
  for (const at::Tensor* tensor : tensors()) {
    pieces_.push_back(tensor->defined() ? Piece{tensor->numel(), tensor->scalar_type()} : Piece());
  }
}

int64_t QuantizedWeight::packed_bytes() const {
  int64_t bytes = 0;
  for (const Piece& piece : pieces_) bytes += piece.padded_bytes();
  return bytes;
}

at::Tensor QuantizedWeight::packed() const {
  const at::Tensor bytes = at::zeros({packed_bytes()}, at::kByte);
  int64_t offset = 0;
  const std::array all{&codes_, &scales_, &scale_codes_, &scale_scales_};
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i]->defined()) bytes.narrow(0, offset, pieces_[i].bytes()).copy_(all[i]->view(at::kByte));
    offset += pieces_[i].padded_bytes();
  }
  return bytes;
}

void QuantizedWeight::unpack(const at::Tensor& bytes) {
  int64_t offset = 0;
  const std::vector<at::Tensor*> all = tensors();
  for (size_t i = 0; i < all.size(); ++i) {
    if (pieces_[i].elements > 0) *all[i] = bytes.narrow(0, offset, pieces_[i].bytes()).view(pieces_[i].type);
    offset += pieces_[i].padded_bytes();
  }
}

void QuantizedWeight::drop() {
  for (at::Tensor* tensor : tensors()) tensor->reset();
}

void QuantizedWeight::quantize_nf4(const float* values, bool double_quantization) {
  const int64_t count = out_ * in_, blocks = (count + kBlock - 1) / kBlock;
  codes_ = at::zeros({(count + 1) / 2}, at::kByte);
  scales_ = at::empty({blocks}, at::kFloat);
  uint8_t* const codes = codes_.data_ptr<uint8_t>();
  float* const scales = scales_.data_ptr<float>();
  at::parallel_for(0, blocks, 256, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kBlock, last = std::min(first + kBlock, count);
      scales[block] = largest_magnitude(values + first, last - first);
      const float inverse = scales[block] > 0 ? 1.0F / scales[block] : 0.0F;
      for (int64_t i = first; i < last; ++i) {
        const uint8_t code = nearest_nf4(values[i] * inverse);
        codes[i / 2] = static_cast<uint8_t>(codes[i / 2] | (i % 2 == 0 ? code << 4U : code));
      }
    }
  });
  if (!double_quantization) return;
  scale_mean_ = scales_.mean().item<float>();
  const int64_t groups = (blocks + kDynamicBlock - 1) / kDynamicBlock;
  const at::Tensor centred = at::zeros({groups * kDynamicBlock}, at::kFloat);
  centred.narrow(0, 0, blocks).copy_(scales_ - scale_mean_);
  scale_codes_ = at::empty({groups * kDynamicBlock}, at::kByte);
  scale_scales_ = at::empty({groups}, at::kFloat);
  write_dynamic(true, centred, scale_codes_, scale_scales_);
  scales_.reset();
}

void QuantizedWeight::quantize_int8(const float* values) {
  codes_ = at::empty({out_ * in_}, at::kByte);
  scales_ = at::empty({out_}, at::kFloat);
  uint8_t* const codes = codes_.data_ptr<uint8_t>();
  float* const scales = scales_.data_ptr<float>();
  at::parallel_for(0, out_, 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      scales[row] = largest_magnitude(values + row * in_, in_);
      const float factor = scales[row] > 0 ? 127.0F / scales[row] : 0.0F;
      for (int64_t i = row * in_; i < (row + 1) * in_; ++i) {
        codes[i] = static_cast<uint8_t>(static_cast<int8_t>(std::nearbyint(values[i] * factor)));
      }
    }
  });
}

at::Tensor QuantizedWeight::block_scales() const {
  if (scales_.defined()) return scales_;
  at::Tensor scales = at::empty({scale_codes_.numel()}, at::kFloat);
  read_dynamic(true, scale_codes_, scale_scales_, scales);
  return scales.add_(scale_mean_);
}

template <typename T>
void QuantizedWeight::read_as(T* target) const {
  const at::Tensor all_scales = block_scales();
  const float* const scales = all_scales.data_ptr<float>();
  const uint8_t* const codes = codes_.data_ptr<uint8_t>();
  const int64_t count = out_ * in_;
  if (quantization_ == Quantization::kInt8) {
    at::parallel_for(0, out_, 16, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const float scale = scales[row] / 127.0F;
        for (int64_t i = row * in_; i < (row + 1) * in_; ++i) {
          target[i] = static_cast<T>(static_cast<float>(static_cast<int8_t>(codes[i])) * scale);
        }
      }
    });
    return;
  }
  at::parallel_for(0, (count + kBlock - 1) / kBlock, 256, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      std::array<T, 16> values{};
      for (size_t code = 0; code < values.size(); ++code) values[code] = static_cast<T>(kNf4[code] * scales[block]);
      const int64_t first = block * kBlock, last = std::min(first + kBlock, count);
      for (int64_t i = first; i < last; ++i) {
        const uint8_t both = codes[i / 2];
        target[i] = values[i % 2 == 0 ? both >> 4U : both & 15U];
      }
    }
  });
}

void QuantizedWeight::read(at::Tensor rows) const {
  if (rows.scalar_type() == at::kFloat) {
    read_as(rows.data_ptr<float>());
  } else {
    read_as(rows.data_ptr<at::BFloat16>());
  }
}

}  // namespace slipway::train
