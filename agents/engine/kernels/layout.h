// How weights, activations and the KV cache lie in memory for the kernels. Everything but f32 weights is in panels of
// 16 columns of the product, so that one vector holds the same step of 16 columns; the same panels serve one row and
// many.
//
// kBF16  weights: [depth / 2][16 columns][2] bf16.
//        a row of x: [depth] bf16.
// kBF12  the same weights, bit for bit, in 12 bits each, where a column's exponents are near each other: [16 columns]
//        bf16 bases, uint32 number of exceptions, 28 bytes unused; room for bf12_exceptions(depth) Bf12Exception, to
//        whole lines; then for each 8 of the depth [3][16 columns][2] words. Of the four lines that kBF16 has there,
//        word 0, 1 and 2 hold the first three: sign in bit 15, code in 10 to 7, mantissa below. The fourth is in their
//        bits 14 to 11: its code, the mantissa's upper four bits, its lower three above the sign. A code of 0 is the
//        exponent 0; another is what the exponent is above the base. Weights of other exponents are the exceptions. Not
//        every matrix can be kept so (pack_panel), and none whose depth is not a multiple of 8.
//        a row of x: as for kBF16.
// kInt8  weights: [depth / 4][16 columns][4] bytes, each 128 + round(w / scale); then for each block of 64 [16 columns]
//        bf16 scales.
//        a row of x: [depth] signed bytes, then for each block of 64 an f32 scale and an int32 −128 · Σ bytes.
// kInt6  weights: for each two blocks of 32 (one, where the last stands alone): [2][16 columns] bf16 scales; for each
//        16 of the depth [3][16 columns][4] bytes: of the four lines that kInt8 has there the first three in bits 7 to
//        2, each q = 32 + round(w / step), and of the fourth two bits in each one's bits 1 and 0, the highest first.
//        w = scale · (4 q − 128), so that the bytes of kInt8 are had by masks and shifts alone.
//        a row of x: as for kInt8, in blocks of 32.
// kInt4  weights: for each four blocks of 32 (fewer at the end): [4][16 columns] bf16 scales, [4][16 columns] byte
//        offsets, to whole lines; then for each block [32 / 8][16 columns][4] bytes, of eight consecutive q the first
//        four in the low halves and the last four in the high ones: one stream of whole lines, without which decoding
//        reads a third slower.
//        w = scale · (8 q + offset − 128): the zero point is in eighths of a step.
//        a row of x: as for kInt8, in blocks of 32.
// Depths are padded with zeros to whole blocks. The bytes are unsigned because that is what vpdpbusd takes; the 128 is
// undone by the sums that come with x.
//
// One page of the cache of one head, head_dim padded to 16 (f32: step 1, bf16: step 2):
//   keys   [head_dim / step][16 positions][step]
//   values [16 positions / step][head_dim][step]
// kInt8 has step 4 and bytes, 128 + round(x / scale), and then [16 positions] f32 scales: one for each key and each
// value.
#pragma once

#include <cstdint>

namespace slipway::kernels {

enum class WeightFormat { kF32, kBF16, kBF12, kInt8, kInt6, kInt4 };
enum class CacheFormat { kF32, kBF16, kInt8 };

inline constexpr int64_t kPanel = 16;       // columns of a panel
inline constexpr int64_t kMostPanels = 2;   // that a product takes at once
inline constexpr int64_t kPageTokens = 16;  // tokens in one page of the KV cache
inline constexpr int64_t kInt8Block = 64;
inline constexpr int64_t kInt6Block = 32;
inline constexpr int64_t kInt6Lines = kInt6Block * 3 / 16;  // of a block
inline constexpr int64_t kInt4Block = 32;
inline constexpr int64_t kInt4Lines = kInt4Block / 8;  // of a block
inline constexpr int64_t kInt4Group = 4;               // blocks whose scales and offsets lie together
inline constexpr int64_t kBf12Step = 8;                // of the depth: four lines of kBF16 in three
inline constexpr int64_t kBf12Words = kBf12Step * kPanel;
inline constexpr int64_t kBf12StepBytes = kBf12Words * 3 / 2;
inline constexpr int64_t kAttentionQueries = 24;  // query vectors that attention takes at once
inline constexpr int64_t kAttentionKeys = 128;    // positions that it takes at once

// One block of a quantised row of x.
struct BlockScale {
  float scale;
  int32_t correction;
};

// A weight of a panel of kBF12 that its code does not give. They are sorted by place.
struct Bf12Exception {
  uint32_t place;  // in the panel of kBF16, counted in weights
  uint16_t bits;
  uint16_t unused;
};

// Static, so that each file compiled for another machine level keeps its own copy.
static constexpr int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

static constexpr int64_t block_of(WeightFormat format) {
  switch (format) {
    case WeightFormat::kBF16:
      return 2;
    case WeightFormat::kBF12:
      return kBf12Step;
    case WeightFormat::kInt8:
      return kInt8Block;
    case WeightFormat::kInt6:
      return kInt6Block;
    case WeightFormat::kInt4:
      return kInt4Block;
    case WeightFormat::kF32:
      break;
  }
  return 1;
}

static constexpr int64_t padded_depth(WeightFormat format, int64_t depth) { return round_up(depth, block_of(format)); }

// Bytes of kPanel columns as bytes in blocks of `block`, as kInt8 has them; kInt6 and kInt4 are unpacked to this for
// many rows.
static constexpr int64_t byte_panel_bytes(int64_t block, int64_t depth) {
  const int64_t padded = round_up(depth, block);
  return round_up(kPanel * padded + padded / block * kPanel * 2, 64);
}

// Where block `block` of a panel of kInt6 has its lines and its scales, in bytes.
static constexpr int64_t int6_lines_at(int64_t block) { return (block * kInt6Lines + block / 2 + 1) * 64; }
static constexpr int64_t int6_scales_at(int64_t block) {
  return (block / 2 * (2 * kInt6Lines + 1)) * 64 + block % 2 * kPanel * 2;
}

// Bytes of `blocks` blocks of a group of kInt4 before their lines, and with them.
static constexpr int64_t int4_head_bytes(int64_t blocks) { return round_up(blocks * kPanel * 3, 64); }
static constexpr int64_t int4_group_bytes(int64_t blocks) { return int4_head_bytes(blocks) + blocks * kInt4Lines * 64; }

// Where one of the `blocks` blocks of a panel of kInt4 lies, in bytes.
struct Int4Place {
  int64_t scales, offsets, lines;
};
static constexpr Int4Place int4_place(int64_t block, int64_t blocks) {
  const int64_t group = block / kInt4Group, within = block % kInt4Group, left = blocks - group * kInt4Group;
  const int64_t members = left < kInt4Group ? left : kInt4Group;
  const int64_t begin = group * int4_group_bytes(kInt4Group);
  return {begin + within * kPanel * 2, begin + (2 * members + within) * kPanel,
          begin + int4_head_bytes(members) + within * kInt4Lines * 64};
}

// Most exceptions of a panel: one weight in 512.
static constexpr int64_t bf12_exceptions(int64_t depth) { return round_up(depth, 256) / 32; }

// Bytes before the first words of a panel of kBF12.
static constexpr int64_t bf12_head_bytes(int64_t depth) {
  return 64 + bf12_exceptions(depth) * static_cast<int64_t>(sizeof(Bf12Exception));
}

// Bytes of kPanel columns.
static constexpr int64_t panel_bytes(WeightFormat format, int64_t depth) {
  const int64_t padded = padded_depth(format, depth);
  switch (format) {
    case WeightFormat::kBF16:
      return kPanel * padded * 2;
    case WeightFormat::kBF12:
      return bf12_head_bytes(depth) + padded / kBf12Step * kBf12StepBytes;
    case WeightFormat::kInt8:
      return byte_panel_bytes(kInt8Block, depth);
    case WeightFormat::kInt6:
      return int6_lines_at(padded / kInt6Block - 1) + kInt6Lines * 64;
    case WeightFormat::kInt4:
      return padded / kInt4Block / kInt4Group * int4_group_bytes(kInt4Group) +
             int4_group_bytes(padded / kInt4Block % kInt4Group);
    case WeightFormat::kF32:
      break;
  }
  return kPanel * padded * 4;
}

// Bytes from one packed row of x to the next.
static constexpr int64_t activation_bytes(WeightFormat format, int64_t depth) {
  const int64_t padded = padded_depth(format, depth);
  switch (format) {
    case WeightFormat::kBF16:
    case WeightFormat::kBF12:
      return round_up(padded * 2, 64);
    case WeightFormat::kInt8:
    case WeightFormat::kInt6:
    case WeightFormat::kInt4:
      return round_up(padded + padded / block_of(format) * static_cast<int64_t>(sizeof(BlockScale)), 64);
    case WeightFormat::kF32:
      break;
  }
  return depth * 4;
}

// What a product needs beside its operands: the panels that are taken at once, unpacked.
static constexpr int64_t matmul_scratch_bytes(WeightFormat format, int64_t depth) {
  switch (format) {
    case WeightFormat::kBF12:
      return kMostPanels * panel_bytes(WeightFormat::kBF16, depth);
    case WeightFormat::kInt6:
      return kMostPanels * byte_panel_bytes(kInt6Block, depth);
    case WeightFormat::kInt4:
      return kMostPanels * byte_panel_bytes(kInt4Block, depth);
    default:
      return 0;
  }
}

static constexpr int64_t padded_head(int64_t head_dim) { return round_up(head_dim, 16); }

// Bytes of the keys (or of the values) of one page and head.
static constexpr int64_t page_head_bytes(CacheFormat format, int64_t head_dim) {
  const int64_t elements = kPageTokens * padded_head(head_dim);
  switch (format) {
    case CacheFormat::kBF16:
      return 2 * elements;
    case CacheFormat::kInt8:
      return elements + kPageTokens * 4;
    case CacheFormat::kF32:
      break;
  }
  return 4 * elements;
}

// Queries and results of one chunk (4 bytes a number each), its scores and its weights, and eight numbers a query.
static constexpr int64_t attention_scratch_bytes(int64_t head_dim) {
  return kAttentionQueries * 4 * (2 * padded_head(head_dim) + 2 * kAttentionKeys + 8);
}

}  // namespace slipway::kernels
