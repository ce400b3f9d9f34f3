// The matmuls of the packed formats (layout.h), over a type W that holds 16 floats, 16 sums of bytes or one line of a
// panel, and that each level's file defines. Included by those files alone; see impl_elementwise.h.
#pragma once

#include <cstdint>

#include "agents/engine/kernels/impl_bf12.h"
#include "agents/engine/kernels/kernels.h"

namespace slipway::kernels {
namespace {

// Bias, what y held, and the edge of the last panel: in this order for every element.
template <typename W, int ROWS, int PANELS>
inline void finish(const MatmulCall& call, int64_t row, int64_t panel, typename W::Floats (&sums)[ROWS][PANELS]) {
  for (int j = 0; j < PANELS; ++j) {
    const int64_t first = (panel + j) * kPanel;
    const int64_t left = call.end - first;
    float* y = call.y + row * call.y_stride + first;
    if (left >= kPanel) {
      for (int i = 0; i < ROWS; ++i, y += call.y_stride) {
        auto sum = sums[i][j];
        if (call.bias != nullptr) sum = W::add(sum, W::load(call.bias + first));
        if (call.accumulate) sum = W::add(W::load(y), sum);
        W::store(y, sum);
      }
    } else {
      const int count = static_cast<int>(left);
      for (int i = 0; i < ROWS; ++i, y += call.y_stride) {
        auto sum = sums[i][j];
        if (call.bias != nullptr) sum = W::add(sum, W::load_part(call.bias + first, count));
        if (call.accumulate) sum = W::add(W::load_part(y, count), sum);
        W::store_part(y, sum, count);
      }
    }
  }
}

template <typename W, int ROWS, int PANELS>
inline void clear(typename W::Floats (&sums)[ROWS][PANELS]) {
#pragma GCC unroll 32
  for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 32
    for (int j = 0; j < PANELS; ++j) sums[i][j] = W::zero();
  }
}

// Where reading goes on after these panels.
struct Ahead {
  const char* begin = nullptr;
  int64_t bytes = 0;  // 0: nothing to fetch
};

inline void prefetch(const Ahead& ahead, int64_t offset) {
  if (offset < ahead.bytes) __builtin_prefetch(ahead.begin + offset, 0, 2);
}

// Tiles of rows by panels. With KEEP, panels that are packed stay in the call's scratch as OfManyRows reads them, which
// gives the same bits.
struct Bf16Tile {
  using OfManyRows = Bf16Tile;

  static inline const char* unpacked(const MatmulCall& /*call*/, const char* panels) { return panels; }

  template <typename W, int ROWS, int PANELS, bool KEEP = false>
  static inline void run(const MatmulCall& call, int64_t row, int64_t panel, const char* panels, const Ahead& ahead) {
    const int64_t steps = padded_depth(WeightFormat::kBF16, call.depth) / 2;
    const int64_t stride = panel_bytes(WeightFormat::kBF16, call.depth) / 2, x_stride = call.x_stride / 2;
    const auto* x = static_cast<const uint16_t*>(call.x) + row * x_stride;
    const auto* w = reinterpret_cast<const uint16_t*>(panels);
    typename W::Floats sums[ROWS][PANELS];
    clear<W>(sums);
    for (int64_t k = 0; k < steps; ++k) {
      typename W::Pairs right[PANELS];
#pragma GCC unroll 32
      for (int j = 0; j < PANELS; ++j) {
        right[j] = W::load_pairs(w + j * stride + k * 2 * kPanel);
        prefetch(ahead, (k * PANELS + j) * 64);
      }
#pragma GCC unroll 32
      for (int i = 0; i < ROWS; ++i) {
        const auto left = W::broadcast_pair(x + i * x_stride + 2 * k);
#pragma GCC unroll 32
        for (int j = 0; j < PANELS; ++j) sums[i][j] = W::multiply_add_pairs(sums[i][j], right[j], left);
      }
    }
    finish<W>(call, row, panel, sums);
  }
};

struct Bf12Tile {
  using OfManyRows = Bf16Tile;

  static inline const char* unpacked(const MatmulCall& call, const char* /*panels*/) {
    return static_cast<const char*>(call.scratch);
  }

  template <typename W, int ROWS, int PANELS, bool KEEP = false>
  static inline void run(const MatmulCall& call, int64_t row, int64_t panel, const char* panels,
                         const Ahead& /*ahead*/) {
    const int64_t x_stride = call.x_stride / 2, stride = panel_bytes(WeightFormat::kBF12, call.depth);
    const auto* x = static_cast<const uint16_t*>(call.x) + row * x_stride;
    const auto* head = reinterpret_cast<const uint8_t*>(panels);
    const uint8_t* words = head + bf12_head_bytes(call.depth);
    auto* kept = static_cast<uint16_t*>(call.scratch);
    Bf12Exceptions exceptions[PANELS];
    for (int j = 0; j < PANELS; ++j) exceptions[j] = Bf12Exceptions(head + j * stride);
    typename W::Floats sums[ROWS][PANELS];
    clear<W>(sums);
    for (int64_t step = 0; step < call.depth / kBf12Step; ++step, words += kBf12StepBytes, kept += kBf12Words) {
#pragma GCC unroll 2
      for (int j = 0; j < PANELS; ++j) {
        auto lines = W::unpack_step(words + j * stride, W::load_bases(head + j * stride));
        uint16_t* out = kept + j * call.depth * kPanel;
        if (exceptions[j].has(step)) [[unlikely]] {
          uint16_t stored[kBf12Words];
          W::store_lines(stored, lines);
          exceptions[j].put(stored);
          lines = W::load_lines(stored);
        }
        if constexpr (KEEP) W::store_lines(out, lines);
#pragma GCC unroll 4
        for (int line = 0; line < 4; ++line) {
          const auto right = W::pairs_of(lines, line);
#pragma GCC unroll 32
          for (int i = 0; i < ROWS; ++i) {
            const auto left = W::broadcast_pair(x + i * x_stride + step * kBf12Step + 2 * line);
            sums[i][j] = W::multiply_add_pairs(sums[i][j], right, left);
          }
        }
      }
    }
    finish<W>(call, row, panel, sums);
  }
};

// The scales of a packed row's blocks.
inline const BlockScale* scales_of(const int8_t* row, int64_t padded) {
  return reinterpret_cast<const BlockScale*>(row + padded);
}

// sums += dots · scale of the panel's block · scale of the row's block, in this order for every element.
template <typename W, int ROWS, int PANELS>
inline void add_block(typename W::Floats (&sums)[ROWS][PANELS], const typename W::Ints (&dots)[ROWS][PANELS],
                      const uint8_t* scales, int64_t stride, const BlockScale* x_scales, int64_t x_stride) {
  typename W::Floats scale[PANELS];
#pragma GCC unroll 32
  for (int j = 0; j < PANELS; ++j) scale[j] = W::load_bf16(scales + j * stride);
#pragma GCC unroll 32
  for (int i = 0; i < ROWS; ++i) {
    const auto x_scale =
        W::all(reinterpret_cast<const BlockScale*>(reinterpret_cast<const int8_t*>(x_scales) + i * x_stride)->scale);
#pragma GCC unroll 32
    for (int j = 0; j < PANELS; ++j) {
      sums[i][j] = W::multiply_add(W::multiply(W::to_floats(dots[i][j]), scale[j]), x_scale, sums[i][j]);
    }
  }
}

template <typename W, int ROWS, int PANELS>
inline void start_block(typename W::Ints (&dots)[ROWS][PANELS], const BlockScale* x_scales, int64_t x_stride) {
#pragma GCC unroll 32
  for (int i = 0; i < ROWS; ++i) {
    const auto* scale = reinterpret_cast<const BlockScale*>(reinterpret_cast<const int8_t*>(x_scales) + i * x_stride);
#pragma GCC unroll 32
    for (int j = 0; j < PANELS; ++j) dots[i][j] = W::start(scale->correction);
  }
}

// Panels of bytes in blocks of BLOCK: kInt8, and kInt6 and kInt4 unpacked. `panels`: the first of them.
template <int64_t BLOCK>
struct ByteTile {
  using OfManyRows = ByteTile;

  static inline const char* unpacked(const MatmulCall& /*call*/, const char* panels) { return panels; }

  template <typename W, int ROWS, int PANELS, bool KEEP = false>
  static inline void run(const MatmulCall& call, int64_t row, int64_t panel, const char* panels, const Ahead& ahead) {
    constexpr int64_t kSteps = BLOCK / 4;
    const int64_t padded = round_up(call.depth, BLOCK), blocks = padded / BLOCK;
    const int64_t stride = byte_panel_bytes(BLOCK, call.depth);
    const auto* x = static_cast<const int8_t*>(call.x) + row * call.x_stride;
    const BlockScale* x_scales = scales_of(x, padded);
    const auto* lines = reinterpret_cast<const uint8_t*>(panels);
    const uint8_t* scales = lines + kPanel * padded;
    typename W::Floats sums[ROWS][PANELS];
    clear<W>(sums);
    for (int64_t block = 0; block < blocks; ++block) {
      typename W::Ints dots[ROWS][PANELS];
      start_block<W>(dots, x_scales + block, call.x_stride);
#pragma GCC unroll 4
      for (int64_t step = 0; step < kSteps; ++step) {
        typename W::Bytes right[PANELS];
#pragma GCC unroll 32
        for (int j = 0; j < PANELS; ++j) {
          right[j] = W::load_bytes(lines + j * stride + step * 64);
          prefetch(ahead, ((block * kSteps + step) * PANELS + j) * 64);
        }
#pragma GCC unroll 32
        for (int i = 0; i < ROWS; ++i) {
          const auto left = W::broadcast_bytes(x + i * call.x_stride + block * BLOCK + step * 4);
#pragma GCC unroll 32
          for (int j = 0; j < PANELS; ++j) dots[i][j] = W::dot(dots[i][j], right[j], left);
        }
      }
      lines += kSteps * 64;
      add_block<W>(sums, dots, scales + block * kPanel * 2, stride, x_scales + block, call.x_stride);
    }
    finish<W>(call, row, panel, sums);
  }
};

struct Int6Tile {
  using OfManyRows = ByteTile<kInt6Block>;

  static inline const char* unpacked(const MatmulCall& call, const char* /*panels*/) {
    return static_cast<const char*>(call.scratch);
  }

  template <typename W, int ROWS, int PANELS, bool KEEP = false>
  static inline void run(const MatmulCall& call, int64_t row, int64_t panel, const char* panels,
                         const Ahead& /*ahead*/) {
    const int64_t padded = padded_depth(WeightFormat::kInt6, call.depth), blocks = padded / kInt6Block;
    const int64_t stride = panel_bytes(WeightFormat::kInt6, call.depth);
    const auto* x = static_cast<const int8_t*>(call.x) + row * call.x_stride;
    const BlockScale* x_scales = scales_of(x, padded);
    auto* kept = static_cast<uint8_t*>(call.scratch);
    const int64_t kept_stride = byte_panel_bytes(kInt6Block, call.depth);
    typename W::Floats sums[ROWS][PANELS];
    clear<W>(sums);
    for (int64_t block = 0; block < blocks; ++block) {
      const auto* lines = reinterpret_cast<const uint8_t*>(panels) + int6_lines_at(block);
      const auto* scales = reinterpret_cast<const uint8_t*>(panels) + int6_scales_at(block);
      typename W::Ints dots[ROWS][PANELS];
      start_block<W>(dots, x_scales + block, call.x_stride);
      if constexpr (KEEP) {
        for (int j = 0; j < PANELS; ++j) {
          __builtin_memcpy(kept + j * kept_stride + kPanel * (padded + 2 * block), scales + j * stride, kPanel * 2);
        }
      }
#pragma GCC unroll 4
      for (int64_t step = 0; step < kInt6Lines / 3; ++step) {
        typename W::Bytes right[PANELS][4];
#pragma GCC unroll 32
        for (int j = 0; j < PANELS; ++j) {
          W::unpack_six(lines + j * stride + step * 3 * 64, right[j]);
          if constexpr (KEEP) {
            uint8_t* out = kept + j * kept_stride + (block * kInt6Block / 16 + step) * 4 * 64;
            for (int line = 0; line < 4; ++line) W::store_bytes(out + line * 64, right[j][line]);
          }
        }
#pragma GCC unroll 32
        for (int i = 0; i < ROWS; ++i) {
          const int8_t* at = x + i * call.x_stride + block * kInt6Block + step * 16;
#pragma GCC unroll 4
          for (int line = 0; line < 4; ++line) {
            const auto left = W::broadcast_bytes(at + line * 4);
#pragma GCC unroll 32
            for (int j = 0; j < PANELS; ++j) dots[i][j] = W::dot(dots[i][j], right[j][line], left);
          }
        }
      }
      add_block<W>(sums, dots, scales, stride, x_scales + block, call.x_stride);
    }
    finish<W>(call, row, panel, sums);
  }
};

struct Int4Tile {
  using OfManyRows = ByteTile<kInt4Block>;

  static inline const char* unpacked(const MatmulCall& call, const char* /*panels*/) {
    return static_cast<const char*>(call.scratch);
  }

  template <typename W, int ROWS, int PANELS, bool KEEP = false>
  static inline void run(const MatmulCall& call, int64_t row, int64_t panel, const char* panels,
                         const Ahead& /*ahead*/) {
    const int64_t padded = padded_depth(WeightFormat::kInt4, call.depth), blocks = padded / kInt4Block;
    const int64_t stride = panel_bytes(WeightFormat::kInt4, call.depth);
    const auto* x = static_cast<const int8_t*>(call.x) + row * call.x_stride;
    const BlockScale* x_scales = scales_of(x, padded);
    const auto* bytes = reinterpret_cast<const uint8_t*>(panels);
    auto* kept = static_cast<uint8_t*>(call.scratch);
    const int64_t kept_stride = byte_panel_bytes(kInt4Block, call.depth);
    typename W::Floats sums[ROWS][PANELS];
    clear<W>(sums);
    for (int64_t block = 0; block < blocks; ++block) {
      typename W::Ints dots[ROWS][PANELS];
      start_block<W>(dots, x_scales + block, call.x_stride);
      const Int4Place place = int4_place(block, blocks);
      const uint8_t *scales = bytes + place.scales, *lines = bytes + place.lines;
      typename W::Bytes offset[PANELS];
#pragma GCC unroll 32
      for (int j = 0; j < PANELS; ++j) {
        offset[j] = W::spread_offsets(bytes + place.offsets + j * stride);
        if constexpr (KEEP) {
          __builtin_memcpy(kept + j * kept_stride + kPanel * (padded + 2 * block), scales + j * stride, kPanel * 2);
        }
      }
#pragma GCC unroll 4
      for (int64_t line = 0; line < kInt4Lines; ++line) {
        typename W::Bytes low[PANELS], high[PANELS];
#pragma GCC unroll 32
        for (int j = 0; j < PANELS; ++j) {
          W::unpack(lines + j * stride + line * 64, offset[j], low[j], high[j]);
          if constexpr (KEEP) {
            uint8_t* out = kept + j * kept_stride + (block * kInt4Lines + line) * 128;
            W::store_bytes(out, low[j]);
            W::store_bytes(out + 64, high[j]);
          }
        }
#pragma GCC unroll 32
        for (int i = 0; i < ROWS; ++i) {
          const int8_t* at = x + i * call.x_stride + block * kInt4Block + line * 8;
          const auto left = W::broadcast_bytes(at), right = W::broadcast_bytes(at + 4);
#pragma GCC unroll 32
          for (int j = 0; j < PANELS; ++j) dots[i][j] = W::dot(W::dot(dots[i][j], low[j], left), high[j], right);
        }
      }
      add_block<W>(sums, dots, scales, stride, x_scales + block, call.x_stride);
    }
    finish<W>(call, row, panel, sums);
  }
};

// What is left below a tile of ROWS + 1 rows.
template <typename W, typename Tile, int ROWS, int PANELS>
inline void last_rows(const MatmulCall& call, int64_t row, int64_t panel, const char* panels, const Ahead& ahead) {
  if constexpr (ROWS > 0) {
    if (call.rows - row == ROWS) {
      Tile::template run<W, ROWS, PANELS>(call, row, panel, panels, ahead);
    } else {
      last_rows<W, Tile, ROWS - 1, PANELS>(call, row, panel, panels, ahead);
    }
  }
}

// All rows of some panels, of one alone where the rows are few; they stay in the first level cache. While the second
// tile of rows computes on them, the next panels come from memory.
template <typename W, typename Tile, int ROWS, int PANELS>
inline void over_rows(const MatmulCall& call, int64_t panel) {
  const int64_t bytes = panel_bytes(call.format, call.depth);
  const char* panels = static_cast<const char*>(call.weights) + panel * bytes;
  const Ahead next = {panels + PANELS * bytes, PANELS * bytes};
  int64_t row = 0;
  if (call.rows > ROWS) {
    using Many = typename Tile::OfManyRows;
    Tile::template run<W, ROWS, PANELS, true>(call, row, panel, panels, Ahead{});
    const char* unpacked = Tile::unpacked(call, panels);
    for (row = ROWS; row + ROWS <= call.rows; row += ROWS) {
      Many::template run<W, ROWS, PANELS>(call, row, panel, unpacked, row == ROWS ? next : Ahead{});
    }
    last_rows<W, Many, ROWS - 1, PANELS>(call, row, panel, unpacked, row == ROWS ? next : Ahead{});
  } else if constexpr (PANELS == 1) {
    last_rows<W, Tile, ROWS, PANELS>(call, row, panel, panels, Ahead{});
  }
}

template <typename W, typename Tile, int ROWS, int PANELS>
inline void over_panels(const MatmulCall& call) {
  int64_t panel = call.begin / kPanel;
  const int64_t last = (call.end + kPanel - 1) / kPanel;
  // Few rows wait for memory, which one stream reads twice as fast as two beside each other.
  if (call.rows > ROWS) {
    for (; panel + PANELS <= last; panel += PANELS) over_rows<W, Tile, ROWS, PANELS>(call, panel);
  }
  for (; panel < last; ++panel) over_rows<W, Tile, ROWS, 1>(call, panel);
}

}  // namespace
}  // namespace slipway::kernels
