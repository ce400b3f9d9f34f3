// The one generic decoder: whatever layers an Architecture describes. Called by the engine's thread alone.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
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
  const Lora* lora = nullptr;      // null: the base model's layers
  // [n, hidden_size]: what the tokens −1, −2, … to −n are, which come first in a sequence.
  const float* virtual_tokens = nullptr;
};

class Decoder {
 public:
  // Loads a Hugging Face folder or a .gguf. Positions run up to max_length. Throws base::Error.
  Decoder(const std::filesystem::path& path, const model::Architecture& architecture, kernels::WeightFormat format,
          int64_t max_length, ThreadPool& pool, const kernels::Table& table);

  // Runs the layers over `tokens`, whose rows the segments cover in order, and stores their keys and values in the
  // cache. Segments with the same adapter should be neighbours. The results wait for logits().
  void forward(std::span<const int32_t> tokens, std::span<const Segment> segments, const KvCache& cache);

  // forward() in steps, for calibration, which keeps rows of its own between the layers: begin(), then each layer in
  // turn.
  void begin(std::span<const int32_t> tokens, std::span<const Segment> segments);
  void run_layer(size_t index, std::span<const Segment> segments, const KvCache& cache);
  // What the next layer reads: [rows, hidden_size], of the rows that begin() was given.
  std::span<float> hidden(int64_t rows);
  // Is given what the layers' products read, as floats [rows, width], `stride` apart, by the first module that reads
  // it: kQuery, kOutput, kUp (for the gate too), kDown.
  using Observer = std::function<void(Module module, const float* x, int64_t stride, int64_t rows)>;
  void observe(Observer observer) { observer_ = std::move(observer); }
  // Of the layers in the decoder's format; empty where the architecture has none.
  Matrix& weights(size_t layer, Module module);

  // Logits of some rows of the last forward(), to out[rows.size(), vocab_size].
  void logits(std::span<const int64_t> rows, float* out);

  // Hidden states of some rows of the last forward() after the final norm, to out[rows.size(), hidden_size].
  void final_states(std::span<const int64_t> rows, float* out);

 private:
  struct Linear {
    Matrix weights;
    std::vector<float> bias;           // empty: none
    std::span<const std::byte> after;  // the beginning of what is read after this
  };
  struct Norm {
    std::vector<float> weight;  // empty: there is none
    std::vector<float> bias;    // of LayerNorm; else empty
  };
  struct Layer {
    Norm attention_norm, mlp_norm;
    Norm attention_output_norm, mlp_output_norm;  // of architectures with output_norms
    std::vector<float> query_norm, key_norm;      // of those with query_key_norm
    Linear query, key, value, output;
    Linear gate, up, down;  // no gate: up alone is activated
  };
  // Cosines and sines by position: [max_length, rotary_dim / 2] each; empty without rotary positions.
  struct Angles {
    std::vector<float> cosines, sines;
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

  static constexpr int64_t kSerialWork = 1 << 15;  // below this, waking the workers is not worth it
  static constexpr int64_t kRowsOfTask = 8;        // that one task of a loop over rows takes

  void load_layer(WeightLoader& loader, int64_t index, Layer& layer);
  Norm load_norm(WeightLoader& loader, const std::string& name) const;
  Angles make_angles(const model::Rope& rope, int64_t max_length) const;
  void load_linear(WeightLoader& loader, const std::string& name, int64_t rows, int64_t columns, bool bias,
                   Linear& linear);
  void link();
  void reserve(int64_t rows);
  void reserve_strips(int64_t rows);
  void plan(std::span<const Segment> segments);
  // Calls body(index, worker) for all indices: on this thread alone when the whole work, in multiplications, is small.
  template <typename Body>
  void parallel(int64_t count, int64_t work, const Body& body) {
    if (work > kSerialWork) {
      pool_.run(count, body);
    } else {
      for (int64_t index = 0; index < count; ++index) body(index, 0);
    }
  }

  void embed(std::span<const int32_t> tokens, std::span<const Segment> segments);
  void norm_row(const Norm& norm, const float* x, float* out) const;
  Input normalize(const float* x, const Norm& norm, int64_t rows, kernels::WeightFormat format);
  // Whether some segment's adapter changes this module: its product must then not be used or added up at once. A
  // request's own numbers do not depend on that, since those with an adapter always go that way.
  bool adapted(std::span<const Segment> segments, size_t layer, Module module) const;
  // hidden_ += branch_, through a norm where there is one.
  void add_branch(const Norm& norm, int64_t rows);
  Input pack(const float* x, int64_t stride, int64_t rows, int64_t width);
  void multiply(const Input& input, int64_t rows, std::span<const Product> products);
  kernels::MatmulCall matmul_call(const Input& input, int64_t rows, const Product& product, int worker) const;

  void attention(std::span<const Segment> segments, size_t index, const KvCache& cache);
  void normalize_heads(float* row, const Layer& layer) const;
  void rotate(float* row, const Angles& angles, int64_t position) const;
  void rotate_and_store(int64_t index, const KvCache& cache);
  void attend(int64_t layer, const KvCache& cache);
  void mlp(std::span<const Segment> segments, size_t index, int64_t rows);
  Input inner_packed(const Layer& layer, const Input& input, int64_t rows);
  Input inner_plain(std::span<const Segment> segments, size_t index, const Input& input, int64_t rows);
  // up null: there is no gate, and its place holds what is activated.
  void activate(float* gate, const float* up, int64_t rows, int64_t stride, int64_t size);
  // What adapters make of y = x · weightsᵀ + bias, that `linear` computed.
  void add_lora(std::span<const Segment> segments, size_t layer, Module module, const Linear& linear, const float* x,
                int64_t x_stride, float* y, int64_t y_stride);
  void multiply_f32(kernels::MatmulCall call, int64_t columns);

  const model::Architecture architecture_;
  const kernels::WeightFormat format_;
  ThreadPool& pool_;
  const kernels::Table& table_;
  int64_t queries_, keys_;  // widths of all query heads, of all key-value heads

  Linear embeddings_, positions_embedded_;  // the second of architectures with learned positions
  Linear output_;                           // empty: tied to the embeddings
  Norm final_norm_;
  std::vector<Layer> layers_;
  Angles angles_, local_angles_;  // the second of layers with a window

  // Scratch, row-major, as many rows as the largest batch so far.
  int64_t reserved_rows_ = 0;
  std::vector<float> hidden_, normed_, attention_in_, attention_out_, mlp_, lora_, gathered_;
  std::vector<float> branch_;  // what attention or MLP add to hidden_, where something stands between
  Pages packed_, packed_inner_;
  std::vector<Pages> strips_;   // per worker: columns of gate and up
  std::vector<Pages> scratch_;  // per worker: the kernels' own
  // Of the batch: rows by page of the cache, and by what attention takes at once.
  std::vector<RowRange> page_ranges_, query_ranges_;
  Observer observer_;
  int64_t positions_ = 0;  // Σ rows × positions that they see, for attention's work
};

}  // namespace slipway::runtime
