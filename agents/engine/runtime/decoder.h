// The one generic decoder: Llama-family layers over an Architecture. Called by the engine's thread alone.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "agents/engine/kernels/kernels.h"
#include "agents/engine/model/architecture.h"
#include "agents/engine/runtime/kv_cache.h"
#include "agents/engine/runtime/lora.h"
#include "agents/engine/runtime/matrix.h"
#include "agents/engine/runtime/thread_pool.h"

namespace slipway::runtime {

// Consecutive tokens of one sequence within a batch.
struct Segment {
  int64_t row = 0;  // the first of its rows in the batch
  int64_t rows = 0;
  int64_t position = 0;            // of the first row within the sequence
  const int32_t* pages = nullptr;  // the sequence's pages of the KV cache, enough for all its positions so far
  const Lora* lora = nullptr;      // null: the base model
};

class Decoder {
 public:
  // Loads a Hugging Face folder or a .gguf. Positions run up to max_length. Throws base::Error.
  Decoder(const std::filesystem::path& path, const model::Architecture& architecture, kernels::WeightFormat format,
          int64_t max_length, ThreadPool& pool, const kernels::Table& table);

  // Runs the layers over `tokens`, whose rows the segments cover in order, and stores their keys and values in the
  // cache. Segments with the same adapter should be neighbours. The results wait for logits().
  void forward(std::span<const int32_t> tokens, std::span<const Segment> segments, const KvCache& cache);

  // Logits of some rows of the last forward(), to out[rows.size(), vocab_size].
  void logits(std::span<const int64_t> rows, float* out);

  // Hidden states of some rows of the last forward() after the final norm, to out[rows.size(), hidden_size].
  void final_states(std::span<const int64_t> rows, float* out);

 private:
  struct Layer {
    Matrix attention_in;  // q, k, v
    Matrix attention_out;
    Matrix mlp_in;  // gate, up
    Matrix mlp_out;
    std::vector<float> attention_norm, mlp_norm;
    std::vector<float> attention_in_bias, attention_out_bias, mlp_in_bias, mlp_out_bias;  // empty: none
  };

  void reserve(int64_t rows);
  // y (+)= x · weightsᵀ + bias over all threads.
  void linear(const float* x, int64_t x_stride, int64_t rows, const Matrix& weights, const std::vector<float>& bias,
              float* y, int64_t y_stride, bool accumulate);
  void multiply(kernels::MatmulCall call, int64_t columns);
  void add_lora(std::span<const Segment> segments, size_t layer, Module module, const float* x, int64_t x_stride,
                float* y, int64_t y_stride);
  void rotate_and_store(std::span<const Segment> segments, int64_t layer, const KvCache& cache);
  void attend(std::span<const Segment> segments, int64_t layer, const KvCache& cache);
  void normalize(const float* x, const std::vector<float>& weight, int64_t rows, float* out);
  void activate(int64_t rows);

  const model::Architecture architecture_;
  ThreadPool& pool_;
  const kernels::Table& table_;
  int64_t queries_, keys_;  // widths of all query heads, of all key-value heads

  Matrix embeddings_;
  Matrix output_;  // empty: tied to the embeddings
  std::vector<float> final_norm_;
  std::vector<Layer> layers_;
  std::vector<float> cosines_, sines_;  // [max_length, head_dim / 2]

  // Scratch, row-major, as many rows as the largest batch so far.
  int64_t reserved_rows_ = 0;
  std::vector<float> hidden_, normed_, attention_in_, attention_out_, mlp_, lora_, gathered_;
  std::vector<std::vector<float>> scores_;  // per worker, attention scores
};

}  // namespace slipway::runtime
