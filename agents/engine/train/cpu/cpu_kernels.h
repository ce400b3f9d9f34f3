// The trainer's kernels for CPUs with AVX-512: matrix products on packed weights, attention inside documents, and the
// small operations with their gradients. Each call is one thread's share; cpu_ops.cpp splits the work. Plain pointers,
// so that the files with special instructions include no library.
#pragma once

#include <cstdint>

namespace slipway::train {

// A matrix product's right side in panels of 32 columns: panel after panel, in each row after row of 32 elements (bf16:
// two rows interleaved), zero beyond the matrix's edges.
inline constexpr int64_t kPanelColumns = 32;

// Rows of the left side that are computed at once.
inline constexpr int64_t kTileRows = 12;

// How the right side lies in memory.
enum class RightSide { kPanels, kRows };

// left (m x k) times right (k x n). Strides count elements. The left side lies in rows (left_k_stride 1), or in tiles
// of kTileRows as pack_left leaves them.
struct Product {
  const void* left = nullptr;
  int64_t left_row_stride = 0, left_k_stride = 1;
  int64_t left_tile_stride = 0;  // from one tile to the next; 0: plain rows
  const void* right = nullptr;
  RightSide right_side = RightSide::kPanels;
  int64_t right_stride = 0;  // kRows: elements from one row to the next
  int64_t panel_stride = 0;  // kPanels: elements from one panel to the next
  int64_t k = 0;
};

// Rows of the upper half, from a tile's first on, each with the one `half` rows below it.
struct HalvedRows {
  int64_t begin = 0, end = 0;
  int64_t half = 0;   // a multiple of kTileRows, at least half of total
  int64_t total = 0;  // of both halves
};

struct ProductOutput {
  void* data = nullptr;
  int64_t stride = 0;
  bool is_f32 = false;           // else the compute type
  bool add = false;              // to what is there; f32 only
  const float* added = nullptr;  // with add: to this, which lies alike, in the place of what is there
  const float* bias = nullptr;   // per column
  float scale = 1.0F;            // of the products
};

// Steps of k at once: sums of a long one are put aside now and then where they can be, so that the left side stays in
// the cache from one tile to the next.
inline int64_t steps_at_once(const Product* products, int count, const ProductOutput& output) {
  constexpr int64_t kLong = 2048, kCut = 1024;
  return output.is_f32 && count == 1 && products->k > kLong ? kCut : products->k;
}

// Tiles of so many steps of k, whose elements have so many bytes, that stay in the second-level cache while all columns
// pass by.
inline int64_t tiles_at_once(int64_t element, int64_t steps) {
  constexpr int64_t kLeftBytes = int64_t{320} << 10, kLeast = 4, kMost = 24;
  const int64_t tiles = kLeftBytes / (kTileRows * element * steps);
  return tiles < kLeast ? kLeast : tiles > kMost ? kMost : tiles;
}

struct AttentionShape {
  int64_t length = 0;  // tokens of the document
  int64_t heads_per_kv = 1, head_dim = 0;
  int64_t row_stride = 0;  // elements from one token to the next in query, key, value (and their gradients)
  int64_t output_row_stride = 0;
  float scale = 1.0F;
  float softcap = 0.0F;  // 0: none; else scores become cap · tanh(score / cap)
  int64_t window = 0;    // 0: none; else a token sees itself and window - 1 before it
};

// The heads of one document that share a key and value head.
struct AttentionHeads {
  const void* query = nullptr;  // of the first head; the next is head_dim elements on
  const void* key = nullptr;
  const void* value = nullptr;
  void* output = nullptr;        // in forward written, in backward read
  float* log_sum_exp = nullptr;  // [heads_per_kv, length]
  const void* doutput = nullptr;
  void* dquery = nullptr;
  void* dkey = nullptr;
  void* dvalue = nullptr;
};

enum class Gate { kSilu, kGeluTanh };

struct CpuKernels {
  // source: `columns` rows of k elements (a linear layer's weight, so that the product is x·Wᵀ) -> panels.
  void (*pack_transposed)(const void* source, int64_t source_stride, int64_t k, int64_t columns, void* panels,
                          int64_t panel_begin, int64_t panel_end);
  // source: k rows of `columns` elements, as they are (so that the product is x·W) -> panels.
  void (*pack_rows)(const void* source, int64_t source_stride, int64_t k, int64_t columns, void* panels,
                    int64_t panel_begin, int64_t panel_end);
  // source: k rows of m elements (the left side transposed) -> tiles of kTileRows times k rounded up to whole pairs:
  // left_row_stride is 1 (bf16: 2), left_k_stride kTileRows.
  void (*pack_left)(const void* source, int64_t source_stride, int64_t k, int64_t m, void* tiles, int64_t tile_begin,
                    int64_t tile_end);
  // Rows [row_begin, row_end), from a tile's first on, of the sum of `count` products, all n columns. Their right sides
  // must lie alike.
  void (*multiply)(const Product* products, int count, const ProductOutput& output, int64_t row_begin, int64_t row_end,
                   int64_t n);
  // The same by Strassen's algorithm, for large products: an eighth fewer operations, and a rounding error that is
  // some times theirs. products[0].k must be even, its left side in rows, and n a multiple of 2·kPanelColumns. Null
  // where the compute type is not f32: quarters' sums would lose too much.
  void (*multiply_halved)(const Product* products, int count, const ProductOutput& output, const HalvedRows& rows,
                          int64_t n);

  void (*attention_forward)(const AttentionShape& shape, const AttentionHeads& heads);
  void (*attention_backward)(const AttentionShape& shape, const AttentionHeads& heads);

  // x f32 [rows, width]. See tensor_ops.h.
  void (*rms_norm)(const float* x, const float* weight, float epsilon, void* y, float* inverse_rms, int64_t rows,
                   int64_t width);
  // dx += the gradient; weight_gradient (may be null) += its own.
  void (*rms_norm_backward)(const void* dy, const float* x, const float* weight, const float* inverse_rms, float* dx,
                            float* weight_gradient, int64_t rows, int64_t width);
  // heads of head_dim elements, `rotated` of them first in a row; cosine and sine [rows, half].
  void (*rotate)(void* x, int64_t row_stride, int64_t heads, int64_t head_dim, int64_t half, const float* cosine,
                 const float* sine, float sine_sign, int64_t rows);
  void (*gate)(Gate kind, const void* gate_up, void* activated, int64_t rows, int64_t width);
  void (*gate_backward)(Gate kind, const void* gate_up, const void* dactivated, void* dgate_up, int64_t rows,
                        int64_t width);
  // f32 <-> compute type.
  void (*narrow)(const float* source, void* target, int64_t count);
  // logits f32 [width] -> log p(target); when gradient is not null it becomes weight · (softmax - onehot) in the
  // compute type, and may lie where the logits do. cap: as softcap above.
  float (*softmax_loss)(float* logits, int64_t target, float weight, void* gradient, int64_t width, float cap);
};

// nullptr when this CPU has not what they need: AVX-512 (F, BW, DQ, VL), and for bf16 AVX512_BF16.
const CpuKernels* cpu_kernels_f32();
const CpuKernels* cpu_kernels_bf16();

// Whether matrix products by these kernels beat libtorch's: not on Intel's CPUs, whose own libraries libtorch uses.
bool own_products_are_faster();

namespace detail {
extern const CpuKernels kAvx512F32;
extern const CpuKernels kAvx512Bf16;
}  // namespace detail

}  // namespace slipway::train
