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

class WeightLoader;

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

  // What the cache should hold for weights of this format: f32 beside f32, else bf16.
  kernels::CacheFormat cache_format() const;

  // Runs the layers over `tokens`, whose rows the segments cover in order, and stores their keys and values in the
  // cache. Segments with the same adapter should be neighbours. The results wait for logits().
  void forward(std::span<const int32_t> tokens, std::span<const Segment> segments, const KvCache& cache);

  // Logits of some rows of the last forward(), to out[rows.size(), vocab_size].
  void logits(std::span<const int64_t> rows, float* out);

 private:
  struct Linear {
    Matrix weights;
    std::vector<float> bias;  // empty: none
  };
  struct Layer {
    std::vector<float> attention_norm, mlp_norm;
    Linear query, key, value, output;
    Linear gate, up, down;
  };
  // Rows that linears read: as f32, and packed as their weights' format wants it.
  struct Input {
    const float* x = nullptr;
    int64_t stride = 0;  // floats
    const std::byte* packed = nullptr;
  };
  // One of the products of the same input that are computed together. y [rows, stride] (+)= x · weightsᵀ + bias.
  struct Product {
    const Linear* linear = nullptr;
    float* y = nullptr;
    int64_t stride = 0;
    bool accumulate = false;
  };
  // Consecutive rows of one segment that one task takes.
  struct RowRange {
    const Segment* segment = nullptr;
    int64_t first = 0;  // within the segment
    int64_t rows = 0;
  };

  void load_layer(WeightLoader& loader, int64_t index, Layer& layer);
  void load_linear(WeightLoader& loader, const std::string& name, int64_t rows, int64_t columns, bool bias,
                   Linear& linear);
  void reserve(int64_t rows);
  void plan(std::span<const Segment> segments);
  // Calls body(index, worker) for all indices: on this thread alone when the whole work is small.
  template <typename Body>
  void parallel(int64_t count, int64_t work, const Body& body);

  Input normalize(const float* x, const std::vector<float>& weight, int64_t rows, kernels::WeightFormat format);
  Input pack(const float* x, int64_t stride, int64_t rows, int64_t width);
  void multiply(const Input& input, int64_t rows, std::span<const Product> products);
  kernels::MatmulCall matmul_call(const Input& input, int64_t rows, const Product& product) const;

  void attention(std::span<const Segment> segments, size_t index, const KvCache& cache);
  void rotate_and_store(int64_t layer, const KvCache& cache);
  void attend(int64_t layer, const KvCache& cache);
  void mlp(std::span<const Segment> segments, size_t index, int64_t rows);
  Input inner_packed(const Layer& layer, const Input& input, int64_t rows);
  Input inner_plain(std::span<const Segment> segments, size_t index, const Input& input, int64_t rows);
  void activate(float* gate, const float* up, int64_t rows, int64_t stride, int64_t size);
  void add_lora(std::span<const Segment> segments, size_t layer, Module module, const float* x, int64_t x_stride,
                float* y, int64_t y_stride);
  void multiply_f32(kernels::MatmulCall call, int64_t columns);

  const model::Architecture architecture_;
  const kernels::WeightFormat format_;
  ThreadPool& pool_;
  const kernels::Table& table_;
  int64_t queries_, keys_;  // widths of all query heads, of all key-value heads

  Linear embeddings_;
  Linear output_;  // empty: tied to the embeddings
  std::vector<float> final_norm_;
  std::vector<Layer> layers_;
  std::vector<float> cosines_, sines_;  // [max_length, head_dim / 2]

  // Scratch, row-major, as many rows as the largest batch so far.
  int64_t reserved_rows_ = 0;
  std::vector<float> hidden_, normed_, attention_in_, attention_out_, mlp_, lora_, gathered_;
  Pages packed_, packed_inner_;
  std::vector<Pages> strips_;             // per worker: columns of gate and up
  std::vector<Pages> attention_scratch_;  // per worker
  // Of the batch: rows by page of the cache, and by what attention takes at once.
  std::vector<RowRange> page_ranges_, query_ranges_;
  int64_t positions_ = 0;  // Σ rows × positions that they see, for attention's work
};

}  // namespace slipway::runtime
