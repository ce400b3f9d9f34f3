#include "agents/engine/model/dequantize.h"

#include "backend/base/error.h"

namespace slipway::model {
namespace {

uint8_t u8(const std::byte* at) { return static_cast<uint8_t>(*at); }

uint16_t u16(const std::byte* at) {
  uint16_t value;
  std::memcpy(&value, at, 2);
  return value;
}

float half(const std::byte* at) { return f16_to_f32(u16(at)); }

// Each function below turns one block at `in` into its elements at `out`.

void block_q8_0(const std::byte* in, float* out) {
  const float d = half(in);
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(static_cast<int8_t>(in[2 + i])) * d;
}

void block_q4_0(const std::byte* in, float* out) {
  const float d = half(in);
  for (int i = 0; i < 16; ++i) {
    const int q = u8(in + 2 + i);
    out[i] = static_cast<float>((q & 15) - 8) * d;
    out[i + 16] = static_cast<float>((q >> 4) - 8) * d;
  }
}

void block_q4_1(const std::byte* in, float* out) {
  const float d = half(in);
  const float m = half(in + 2);
  for (int i = 0; i < 16; ++i) {
    const int q = u8(in + 4 + i);
    out[i] = static_cast<float>(q & 15) * d + m;
    out[i + 16] = static_cast<float>(q >> 4) * d + m;
  }
}

// Elements of the 5 bit types: four bits in `low`, the fifth in bit i of `high`.
void five_bits(const std::byte* high_at, const std::byte* low, int* q) {
  uint32_t high;
  std::memcpy(&high, high_at, 4);
  for (uint32_t i = 0; i < 16; ++i) {
    q[i] = (u8(low + i) & 15) | static_cast<int>(((high >> i) & 1U) << 4U);
    q[i + 16] = (u8(low + i) >> 4) | static_cast<int>(((high >> (i + 16)) & 1U) << 4U);
  }
}

void block_q5_0(const std::byte* in, float* out) {
  const float d = half(in);
  int q[32];
  five_bits(in + 2, in + 6, q);
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(q[i] - 16) * d;
}

void block_q5_1(const std::byte* in, float* out) {
  const float d = half(in);
  const float m = half(in + 2);
  int q[32];
  five_bits(in + 4, in + 8, q);
  for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(q[i]) * d + m;
}

// Scale and minimum of sub-block j (0 to 7) in the 12 bytes of packed 6 bit numbers that Q4_K and Q5_K share.
void scale_and_min(const std::byte* packed, int j, int& scale, int& minimum) {
  if (j < 4) {
    scale = u8(packed + j) & 63;
    minimum = u8(packed + j + 4) & 63;
  } else {
    scale = (u8(packed + j + 4) & 15) | ((u8(packed + j - 4) >> 6) << 4);
    minimum = (u8(packed + j + 4) >> 4) | ((u8(packed + j) >> 6) << 4);
  }
}

void block_q4_k(const std::byte* in, float* out) {
  const float d = half(in);
  const float dmin = half(in + 2);
  const std::byte* scales = in + 4;
  const std::byte* q = in + 16;
  for (int pair = 0; pair < 4; ++pair) {
    int scale_low, min_low, scale_high, min_high;
    scale_and_min(scales, 2 * pair, scale_low, min_low);
    scale_and_min(scales, 2 * pair + 1, scale_high, min_high);
    const float d_low = d * static_cast<float>(scale_low), m_low = dmin * static_cast<float>(min_low);
    const float d_high = d * static_cast<float>(scale_high), m_high = dmin * static_cast<float>(min_high);
    for (int i = 0; i < 32; ++i) {
      const int value = u8(q + 32 * pair + i);
      out[64 * pair + i] = d_low * static_cast<float>(value & 15) - m_low;
      out[64 * pair + 32 + i] = d_high * static_cast<float>(value >> 4) - m_high;
    }
  }
}

void block_q5_k(const std::byte* in, float* out) {
  const float d = half(in);
  const float dmin = half(in + 2);
  const std::byte* scales = in + 4;
  const std::byte* high = in + 16;
  const std::byte* q = in + 48;
  for (int pair = 0; pair < 4; ++pair) {
    int scale_low, min_low, scale_high, min_high;
    scale_and_min(scales, 2 * pair, scale_low, min_low);
    scale_and_min(scales, 2 * pair + 1, scale_high, min_high);
    const float d_low = d * static_cast<float>(scale_low), m_low = dmin * static_cast<float>(min_low);
    const float d_high = d * static_cast<float>(scale_high), m_high = dmin * static_cast<float>(min_high);
    for (int i = 0; i < 32; ++i) {
      const int value = u8(q + 32 * pair + i);
      const int fifth = u8(high + i) >> (2 * pair);
      out[64 * pair + i] = d_low * static_cast<float>((value & 15) + ((fifth & 1) << 4)) - m_low;
      out[64 * pair + 32 + i] = d_high * static_cast<float>((value >> 4) + ((fifth & 2) << 3)) - m_high;
    }
  }
}

void block_q6_k(const std::byte* in, float* out) {
  const std::byte* low = in;
  const std::byte* high = in + 128;
  const std::byte* scales = in + 192;
  const float d = half(in + 208);
  for (int part = 0; part < 2; ++part) {
    for (int i = 0; i < 32; ++i) {
      const int l0 = u8(low + 64 * part + i);
      const int l1 = u8(low + 64 * part + 32 + i);
      const int h = u8(high + 32 * part + i);
      const int q[4] = {(l0 & 15) | ((h & 3) << 4), (l1 & 15) | (((h >> 2) & 3) << 4),
                        (l0 >> 4) | (((h >> 4) & 3) << 4), (l1 >> 4) | ((h >> 6) << 4)};
      for (int group = 0; group < 4; ++group) {
        const auto scale = static_cast<float>(static_cast<int8_t>(scales[8 * part + 2 * group + i / 16]));
        out[128 * part + 32 * group + i] = d * scale * static_cast<float>(q[group] - 32);
      }
    }
  }
}

}  // namespace

int64_t block_elements(DType dtype) {
  switch (dtype) {
    case DType::kQ8_0:
    case DType::kQ4_0:
    case DType::kQ4_1:
    case DType::kQ5_0:
    case DType::kQ5_1:
      return 32;
    case DType::kQ4_K:
    case DType::kQ5_K:
    case DType::kQ6_K:
      return 256;
    default:
      return 1;
  }
}

int64_t block_bytes(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kF16:
    case DType::kBF16:
      return 2;
    case DType::kI64:
      return 8;
    case DType::kU8:
      return 1;
    case DType::kQ8_0:
      return 34;
    case DType::kQ4_0:
      return 18;
    case DType::kQ4_1:
      return 20;
    case DType::kQ5_0:
      return 22;
    case DType::kQ5_1:
      return 24;
    case DType::kQ4_K:
      return 144;
    case DType::kQ5_K:
      return 176;
    case DType::kQ6_K:
      return 210;
  }
  return 0;
}

std::string dtype_name(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "F32";
    case DType::kF16:
      return "F16";
    case DType::kBF16:
      return "BF16";
    case DType::kQ8_0:
      return "Q8_0";
    case DType::kQ4_0:
      return "Q4_0";
    case DType::kQ4_1:
      return "Q4_1";
    case DType::kQ5_0:
      return "Q5_0";
    case DType::kQ5_1:
      return "Q5_1";
    case DType::kQ4_K:
      return "Q4_K";
    case DType::kQ5_K:
      return "Q5_K";
    case DType::kQ6_K:
      return "Q6_K";
    case DType::kI64:
      return "I64";
    case DType::kI32:
      return "I32";
    case DType::kU8:
      return "U8";
  }
  return "";
}

std::optional<uint64_t> checked_bytes(DType dtype, const std::vector<int64_t>& shape) {
  int64_t elements = 1;
  for (const int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(elements, size, &elements)) return std::nullopt;
  }
  int64_t bytes = 0;
  if (elements % block_elements(dtype) != 0) return std::nullopt;
  if (__builtin_mul_overflow(elements / block_elements(dtype), block_bytes(dtype), &bytes)) return std::nullopt;
  return static_cast<uint64_t>(bytes);
}

void dequantize(DType dtype, std::span<const std::byte> data, std::span<float> out) {
  const auto bytes = checked_bytes(dtype, {static_cast<int64_t>(out.size())});
  if (!bytes || *bytes != data.size()) {
    throw base::Error(base::kInvalidModel, std::to_string(data.size()) + " bytes of " + dtype_name(dtype) +
                                               " do not make " + std::to_string(out.size()) + " elements");
  }
  void (*block)(const std::byte*, float*) = nullptr;
  switch (dtype) {
    case DType::kF32:
      if (!data.empty()) std::memcpy(out.data(), data.data(), data.size());
      return;
    case DType::kF16:
      for (size_t i = 0; i < out.size(); ++i) out[i] = half(data.data() + 2 * i);
      return;
    case DType::kBF16:
      for (size_t i = 0; i < out.size(); ++i) out[i] = bf16_to_f32(u16(data.data() + 2 * i));
      return;
    case DType::kQ8_0:
      block = block_q8_0;
      break;
    case DType::kQ4_0:
      block = block_q4_0;
      break;
    case DType::kQ4_1:
      block = block_q4_1;
      break;
    case DType::kQ5_0:
      block = block_q5_0;
      break;
    case DType::kQ5_1:
      block = block_q5_1;
      break;
    case DType::kQ4_K:
      block = block_q4_k;
      break;
    case DType::kQ5_K:
      block = block_q5_k;
      break;
    case DType::kQ6_K:
      block = block_q6_k;
      break;
    case DType::kI64:
    case DType::kI32:
    case DType::kU8:
      throw base::Error(base::kInvalidModel, "a tensor of " + dtype_name(dtype) + " cannot be read as a weight");
  }
  const auto elements = static_cast<size_t>(block_elements(dtype));
  const auto step = static_cast<size_t>(block_bytes(dtype));
  for (size_t i = 0; i < out.size() / elements; ++i) block(data.data() + i * step, out.data() + i * elements);
}

}  // namespace slipway::model
