// The inner loops of inference on the CPU behind one table of functions, chosen at start by what the machine has.
// Called by runtime/ from its worker threads; nothing here allocates, throws or keeps state.
//
// Every output element is computed by the same sequence of operations however many rows or columns a call covers, so a
// request gets the same bits alone and in a batch, in one prompt chunk and in several.
#pragma once

#include <cstdint>

#include "agents/engine/kernels/layout.h"

namespace slipway::kernels {

// y[i, j] (+)= Σ_k x[i, k] · weights[j, k] + bias[j], for i in [0, rows) and j in [begin, end).
struct MatmulCall {
  const void* x = nullptr;  // f32 rows for kF32; else rows that pack_row wrote for the format
  int64_t x_stride = 0;     // bytes
  int64_t rows = 0;
  const void* weights = nullptr;  // kF32: [columns of y, depth], row-major; else panels that pack_panel wrote
  WeightFormat format = WeightFormat::kF32;
  int64_t depth = 0;
  int64_t begin = 0, end = 0;   // columns of y; but for kF32 begin is the first of a panel
  const float* bias = nullptr;  // null: none
  float* y = nullptr;
  int64_t y_stride = 0;  // floats
  bool accumulate = false;
  void* scratch = nullptr;  // matmul_scratch_bytes(format, depth), aligned to 64
};

// Causal attention of `rows` consecutive positions of one sequence, each with `heads` query heads that share one
// key-value head.
struct AttentionCall {
  const float* queries = nullptr;  // [rows, heads, head_dim]
  int64_t query_stride = 0;        // floats from one row to the next
  int64_t rows = 0;
  int64_t heads = 0;
  int64_t head_dim = 0;
  int64_t position = 0;        // of the first row; row r sees positions up to position + r …
  int64_t window = 0;          // … and of those only the last `window`; 0: all
  float softcap = 0;           // scores become softcap · tanh(score / softcap); 0: they stay
  const void* keys = nullptr;  // page p of this layer and head lies at keys + pages[p] × page_bytes
  const void* values = nullptr;
  const int32_t* pages = nullptr;
  int64_t page_bytes = 0;
  CacheFormat format = CacheFormat::kF32;
  float scale = 1;
  void* scratch = nullptr;  // attention_scratch_bytes(head_dim), aligned to 64
  float* out = nullptr;     // [rows, heads, head_dim]
  int64_t out_stride = 0;   // floats
};

// Elements [first, first + count) of a row of activations, as the matmul of a format reads it. Both ends are whole
// blocks of the format, but for the end of the row.
struct PackCall {
  WeightFormat format = WeightFormat::kBF16;  // not kF32
  const float* x = nullptr;                   // the elements alone
  int64_t first = 0;
  int64_t count = 0;
  int64_t depth = 0;    // of the whole row
  void* out = nullptr;  // the whole row: activation_bytes(format, depth), aligned to 64
};

struct StoreCall {
  const float* keys = nullptr;    // [count, head_dim]
  const float* values = nullptr;  // [count, head_dim]
  int64_t stride = 0;             // floats from one position to the next
  int64_t count = 0;
  int64_t head_dim = 0;
  CacheFormat format = CacheFormat::kF32;
  int64_t slot = 0;  // slot + count ≤ kPageTokens
  void* key_page = nullptr;
  void* value_page = nullptr;
};

struct Table {
  const char* name;
  void (*matmul)(const MatmulCall& call);
  void (*attention)(const AttentionCall& call);
  void (*pack_row)(const PackCall& call);
  // Up to kPanel rows of a weight matrix as one panel of panel_bytes(format, depth), zeros for missing rows. Not for
  // kF32. False: these cannot be kept as kBF12, and the panel is not to be used.
  bool (*pack_panel)(WeightFormat format, const float* rows, int64_t count, int64_t depth, void* out);
  // Puts keys and values of consecutive positions into one page. Slot 0 clears what the page held before.
  void (*store_tokens)(const StoreCall& call);
  // out = x / sqrt(mean(x²) + epsilon) · weight
  void (*rms_norm)(const float* x, const float* weight, float epsilon, int64_t size, float* out);
  // out = (x − mean(x)) / sqrt(variance(x) + epsilon) · weight + bias
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float epsilon, int64_t size, float* out);
  // gate[i] = silu(gate[i]) · up[i]
  void (*silu_multiply)(float* gate, const float* up, int64_t size);
  // y += x
  void (*add)(float* y, const float* x, int64_t size);
  // The first of the largest numbers, of which there is at least one; 0 when one of them is none.
  int64_t (*index_of_maximum)(const float* x, int64_t size);
  // Σ exp(x[i] − shift)
  float (*sum_exp)(const float* x, float shift, int64_t size);
};

// Each level includes those before it. kAvx512Vnni adds the dot products of bytes, kAvx512Bf16 those of bf16.
enum class Level { kPortable, kAvx2, kAvx512, kAvx512Vnni, kAvx512Bf16 };
inline constexpr Level kLevels[] = {Level::kPortable, Level::kAvx2, Level::kAvx512, Level::kAvx512Vnni,
                                    Level::kAvx512Bf16};

// The best level of this machine, and the table of a level; nullptr when this machine or build does not have it.
Level best_level();
const Table* table(Level level);

// The weights of one column as they were packed, for embeddings that share the output matrix. `panel` is the panel that
// holds the column, `lane` its place there. Not for kF32.
void unpack_column(WeightFormat format, const void* panel, int64_t lane, int64_t depth, float* out);

}  // namespace slipway::kernels
