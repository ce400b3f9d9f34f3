// The kernels in plain C++, for machines without AVX2 and as the reference of the others.
#include <cmath>

#include "agents/engine/kernels/make_table.h"
#include "agents/engine/kernels/tables.h"
#include "agents/engine/kernels/wide.h"

namespace slipway::kernels {
namespace {

struct Portable {
  static constexpr int kLanes = 4;
  static constexpr int kColumns = 2;
  static constexpr int kColumnsOfOneRow = 4;
  struct Register {
    float lane[kLanes];
  };

  template <typename F>
  static Register make(F f) {
    Register r;
    for (int i = 0; i < kLanes; ++i) r.lane[i] = f(i);
    return r;
  }
  static Register zero() { return all(0); }
  static Register all(float value) {
    return make([&](int) { return value; });
  }
  static Register load(const float* p) {
    return make([&](int i) { return p[i]; });
  }
  static Register load_part(const float* p, int count) {
    return make([&](int i) { return i < count ? p[i] : 0.0F; });
  }
  static Register low_of_pairs(const uint16_t* p) {
    return make([&](int i) { return float_of(static_cast<uint32_t>(p[2 * i]) << 16U); });
  }
  static Register high_of_pairs(const uint16_t* p) {
    return make([&](int i) { return float_of(static_cast<uint32_t>(p[2 * i + 1]) << 16U); });
  }
  static void store(float* p, Register a) {
    for (int i = 0; i < kLanes; ++i) p[i] = a.lane[i];
  }
  static Register add(Register a, Register b) {
    return make([&](int i) { return a.lane[i] + b.lane[i]; });
  }
  static Register subtract(Register a, Register b) {
    return make([&](int i) { return a.lane[i] - b.lane[i]; });
  }
  static Register multiply(Register a, Register b) {
    return make([&](int i) { return a.lane[i] * b.lane[i]; });
  }
  static Register divide(Register a, Register b) {
    return make([&](int i) { return a.lane[i] / b.lane[i]; });
  }
  static Register multiply_add(Register a, Register b, Register c) {
    return make([&](int i) { return a.lane[i] * b.lane[i] + c.lane[i]; });
  }
  static Register maximum(Register a, Register b) {
    return make([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  static float sum(Register a) { return (a.lane[0] + a.lane[2]) + (a.lane[1] + a.lane[3]); }
  static Register exp(Register a) {
    return make([&](int i) { return std::exp(a.lane[i]); });
  }
};

struct PortableWide : WideFloats<Portable> {
  static constexpr int kRows = 2;
  static constexpr int kPanels = 1;
  static constexpr int kHeadVectors = 1;

  struct Bytes {
    int8_t lane[64];
  };
  struct Ints {
    int32_t lane[16];
  };
  struct Four {
    int8_t lane[4];
  };

  // The bytes are made signed here, so the correction for their offset is not wanted.
  static Ints start(int32_t /*correction*/) { return {}; }
  static Bytes load_bytes(const uint8_t* p) {
    Bytes bytes;
    for (int i = 0; i < 64; ++i) bytes.lane[i] = static_cast<int8_t>(p[i] - 128);
    return bytes;
  }
  static void store_bytes(uint8_t* p, const Bytes& a) {
    for (int i = 0; i < 64; ++i) p[i] = static_cast<uint8_t>(a.lane[i] + 128);
  }
  static Four broadcast_bytes(const int8_t* p) { return {p[0], p[1], p[2], p[3]}; }
  static Ints dot(Ints sum, const Bytes& w, const Four& x) {
    for (int i = 0; i < 16; ++i) {
      for (int j = 0; j < 4; ++j) sum.lane[i] += w.lane[4 * i + j] * x.lane[j];
    }
    return sum;
  }
  // Four lines of kInt8 from three of kInt6.
  static void unpack_six(const uint8_t* p, Bytes (&four)[4]) {
    for (int i = 0; i < 64; ++i) {
      const uint32_t a = p[i], b = p[64 + i], c = p[128 + i];
      four[0].lane[i] = static_cast<int8_t>((a & 0xfcU) - 128);
      four[1].lane[i] = static_cast<int8_t>((b & 0xfcU) - 128);
      four[2].lane[i] = static_cast<int8_t>((c & 0xfcU) - 128);
      four[3].lane[i] = static_cast<int8_t>(((a & 3U) << 6U | (b & 3U) << 4U | (c & 3U) << 2U) - 128);
    }
  }
  static Bytes spread_offsets(const uint8_t* p) {
    Bytes bytes;
    for (int i = 0; i < 64; ++i) bytes.lane[i] = static_cast<int8_t>(p[i / 4] - 128);
    return bytes;
  }
  static void unpack(const uint8_t* p, const Bytes& offset, Bytes& low, Bytes& high) {
    for (int i = 0; i < 64; ++i) {
      low.lane[i] = static_cast<int8_t>(8 * (p[i] & 15) + offset.lane[i]);
      high.lane[i] = static_cast<int8_t>(8 * (p[i] >> 4) + offset.lane[i]);
    }
  }
  static Floats to_floats(const Ints& a) {
    float lanes[16];
    for (int i = 0; i < 16; ++i) lanes[i] = static_cast<float>(a.lane[i]);
    return load(lanes);
  }
  static Floats load_bf16(const uint8_t* p) {
    float lanes[16];
    for (int i = 0; i < 16; ++i) {
      uint16_t half;
      __builtin_memcpy(&half, p + 2 * i, sizeof half);
      lanes[i] = float_of(static_cast<uint32_t>(half) << 16U);
    }
    return load(lanes);
  }
};

}  // namespace

const Table kPortableTable = make_table<Portable, PortableWide>("portable");

}  // namespace slipway::kernels
