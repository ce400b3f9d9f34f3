// The inner loops of inference on the CPU behind one table of functions, chosen at start by what the machine has.
// Called by runtime/ from its worker threads; nothing here allocates, throws or keeps state.
//
// Every output element is computed by the same sequence of operations however many rows or columns a call covers, so a
// request gets the same bits alone and in a batch, in one prompt chunk and in several.
#pragma once

#include <cstdint>

namespace slipway::kernels {

enum class WeightFormat { kF32, kBF16 };

// y[i, j] (+)= Σ_k x[i, k] · weights[j, k], for i in [0, rows) and j in [begin, end). Strides in elements.
struct MatmulCall {
  const float* x = nullptr;
  int64_t x_stride = 0;
  int64_t rows = 0;
  const void* weights = nullptr;  // [columns of y, depth], row-major
  WeightFormat format = WeightFormat::kF32;
  int64_t depth = 0;
  int64_t begin = 0, end = 0;
  float* y = nullptr;
  int64_t y_stride = 0;
  bool accumulate = false;
};

inline constexpr int64_t kPageTokens = 16;  // tokens in one page of the KV cache

// Attention of `heads` query heads at one position, that share one key-value head, over `length` cached positions.
struct AttentionCall {
  const float* queries = nullptr;  // [heads, head_dim]
  int64_t heads = 0;
  int64_t head_dim = 0;
  const float* keys =
      nullptr;  // page p of this layer and head lies at keys + pages[p] * page_stride: [kPageTokens, head_dim]
  const float* values = nullptr;  // likewise
  const int32_t* pages = nullptr;
  int64_t page_stride = 0;
  int64_t length = 0;
  float scale = 1;
  float* scores = nullptr;  // scratch of heads × (length rounded up to whole pages)
  float* out = nullptr;     // [heads, head_dim]
};

struct Table {
  const char* name;
  void (*matmul)(const MatmulCall& call);
  void (*attention)(const AttentionCall& call);
  // out = x / sqrt(mean(x²) + epsilon) · weight
  void (*rms_norm)(const float* x, const float* weight, float epsilon, int64_t size, float* out);
  // gate[i] = silu(gate[i]) · up[i]
  void (*silu_multiply)(float* gate, const float* up, int64_t size);
  // y += x
  void (*add)(float* y, const float* x, int64_t size);
  float (*maximum)(const float* x, int64_t size);
  // Σ exp(x[i] − shift)
  float (*sum_exp)(const float* x, float shift, int64_t size);
};

enum class Level { kPortable, kAvx2, kAvx512 };

// The best level of this machine, and the table of a level; nullptr when this machine or build does not have it.
Level best_level();
const Table* table(Level level);

}  // namespace slipway::kernels
