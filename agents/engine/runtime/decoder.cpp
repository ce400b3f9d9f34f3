#include "agents/engine/runtime/decoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "agents/engine/model/decoder_tensors.h"
#include "backend/base/error.h"

namespace slipway::runtime {
namespace {

// Below this many multiplications a loop is not worth waking the workers for.
constexpr int64_t kSerialWork = 1 << 15;

// Reads weights with the shape that the architecture promises.
class Loader {
 public:
  Loader(const std::filesystem::path& path, const model::Architecture& architecture, kernels::WeightFormat format)
      : path_(path.string()), weights_(model::open_decoder_weights(path, architecture)), format_(format) {}

  std::vector<float> vector(const std::string& name, int64_t size) {
    check(name, {size});
    std::vector<float> values(static_cast<size_t>(size));
    weights_->read_f32(name, values);
    return values;
  }

  // Several linear weights of the same input, one below the other.
  Matrix stacked(const std::vector<std::pair<std::string, int64_t>>& parts, int64_t columns) {
    int64_t rows = 0;
    for (const auto& [name, part_rows] : parts) {
      check(name, {part_rows, columns});  // before memory is asked for: the configuration may lie
      rows += part_rows;
    }
    Matrix matrix(rows, columns, format_);
    int64_t row = 0;
    for (const auto& [name, part_rows] : parts) {
      buffer_.resize(static_cast<size_t>(part_rows * columns));
      weights_->read_f32(name, buffer_);
      matrix.set_rows(row, buffer_);
      row += part_rows;
    }
    return matrix;
  }

  std::vector<float> stacked_bias(const std::vector<std::pair<std::string, int64_t>>& parts) {
    std::vector<float> bias;
    for (const auto& [name, size] : parts) {
      const auto part = vector(name, size);
      bias.insert(bias.end(), part.begin(), part.end());
    }
    return bias;
  }

 private:
  void check(const std::string& name, const std::vector<int64_t>& shape) {
    const auto view = weights_->get(name);
    if (view.shape == shape) return;
    const auto text = [](const std::vector<int64_t>& sizes) {
      std::string joined;
      for (const int64_t size : sizes) joined += (joined.empty() ? "" : " × ") + std::to_string(size);
      return joined;
    };
    throw base::Error(
        base::kInvalidModel,
        path_ + ": tensor " + name + " is " + text(view.shape) + ", the configuration says " + text(shape),
        "the weights and the configuration are of different models; download or export the model again");
  }

  std::string path_;
  std::unique_ptr<const model::Weights> weights_;
  kernels::WeightFormat format_;
  std::vector<float> buffer_;
};

}  // namespace

Decoder::Decoder(const std::filesystem::path& path, const model::Architecture& architecture,
                 kernels::WeightFormat format, int64_t max_length, ThreadPool& pool, const kernels::Table& table)
    : architecture_(architecture),
      pool_(pool),
      table_(table),
      queries_(architecture.num_attention_heads * architecture.head_dim),
      keys_(architecture.num_key_value_heads * architecture.head_dim) {
  if (const std::string beyond = model::beyond_llama(architecture); !beyond.empty()) {
    throw base::Error(base::kUnsupported, path.string() + " has " + beyond + ", which the engine does not compute",
                      "known: models like Llama, SmolLM2 and Mistral without a sliding window");
  }
  Loader loader(path, architecture, format);
  const int64_t hidden = architecture.hidden_size;
  const int64_t inner = architecture.intermediate_size;
  embeddings_ = loader.stacked({{"model.embed_tokens.weight", architecture.vocab_size}}, hidden);
  if (!architecture.tie_word_embeddings)
    output_ = loader.stacked({{"lm_head.weight", architecture.vocab_size}}, hidden);
  final_norm_ = loader.vector("model.norm.weight", hidden);
  for (int64_t i = 0; i < architecture.num_hidden_layers; ++i) {
    const std::string prefix = "model.layers." + std::to_string(i) + ".";
    const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
    Layer layer;
    layer.attention_norm = loader.vector(prefix + "input_layernorm.weight", hidden);
    layer.mlp_norm = loader.vector(prefix + "post_attention_layernorm.weight", hidden);
    layer.attention_in = loader.stacked({{attention + "q_proj.weight", queries_},
                                         {attention + "k_proj.weight", keys_},
                                         {attention + "v_proj.weight", keys_}},
                                        hidden);
    layer.attention_out = loader.stacked({{attention + "o_proj.weight", hidden}}, queries_);
    layer.mlp_in = loader.stacked({{mlp + "gate_proj.weight", inner}, {mlp + "up_proj.weight", inner}}, hidden);
    layer.mlp_out = loader.stacked({{mlp + "down_proj.weight", hidden}}, inner);
    if (architecture.attention_bias) {
      layer.attention_in_bias = loader.stacked_bias({{attention + "q_proj.bias", queries_},
                                                     {attention + "k_proj.bias", keys_},
                                                     {attention + "v_proj.bias", keys_}});
      layer.attention_out_bias = loader.vector(attention + "o_proj.bias", hidden);
    }
    if (architecture.mlp_bias) {
      layer.mlp_in_bias = loader.stacked_bias({{mlp + "gate_proj.bias", inner}, {mlp + "up_proj.bias", inner}});
      layer.mlp_out_bias = loader.vector(mlp + "down_proj.bias", hidden);
    }
    layers_.push_back(std::move(layer));
  }

  const auto frequencies = model::rope_inverse_frequencies(architecture);
  cosines_.reserve(static_cast<size_t>(max_length) * frequencies.size());
  sines_.reserve(cosines_.capacity());
  for (int64_t position = 0; position < max_length; ++position) {
    for (const float frequency : frequencies) {
      const float angle = static_cast<float>(position) * frequency;
      cosines_.push_back(std::cos(angle));
      sines_.push_back(std::sin(angle));
    }
  }
  scores_.resize(static_cast<size_t>(pool.threads()));
}

void Decoder::reserve(int64_t rows) {
  if (rows <= reserved_rows_) return;
  const auto sized = [&](std::vector<float>& buffer, int64_t width) {
    buffer.resize(static_cast<size_t>(rows * width));
  };
  sized(hidden_, architecture_.hidden_size);
  sized(normed_, architecture_.hidden_size);
  sized(attention_in_, queries_ + 2 * keys_);
  sized(attention_out_, queries_);
  sized(mlp_, 2 * architecture_.intermediate_size);
  reserved_rows_ = rows;
}

void Decoder::multiply(kernels::MatmulCall call, int64_t columns) {
  if (call.rows * columns * call.depth <= kSerialWork) {
    call.begin = 0;
    call.end = columns;
    table_.matmul(call);
    return;
  }
  // A few pieces per thread, so that one that is held up does not hold up all; in eights, as the kernels take them.
  const int64_t pieces = std::max<int64_t>(1, std::min<int64_t>(4 * pool_.threads(), columns / 16));
  const int64_t piece = ((columns + pieces - 1) / pieces + 7) / 8 * 8;
  pool_.run((columns + piece - 1) / piece, [&](int64_t index, int) {
    kernels::MatmulCall part = call;
    part.begin = index * piece;
    part.end = std::min(columns, part.begin + piece);
    table_.matmul(part);
  });
}

void Decoder::linear(const float* x, int64_t x_stride, int64_t rows, const Matrix& weights,
                     const std::vector<float>& bias, float* y, int64_t y_stride, bool accumulate) {
  kernels::MatmulCall call;
  call.x = x;
  call.x_stride = x_stride;
  call.rows = rows;
  call.weights = weights.data();
  call.format = weights.format();
  call.depth = weights.columns();
  call.y = y;
  call.y_stride = y_stride;
  call.accumulate = accumulate;
  multiply(call, weights.rows());
  if (bias.empty()) return;
  for (int64_t row = 0; row < rows; ++row) table_.add(y + row * y_stride, bias.data(), weights.rows());
}

void Decoder::add_lora(std::span<const Segment> segments, size_t layer, Module module, const float* x, int64_t x_stride,
                       float* y, int64_t y_stride) {
  for (size_t first = 0; first < segments.size();) {
    const Lora* lora = segments[first].lora;
    size_t last = first;
    int64_t rows = 0;
    for (; last < segments.size() && segments[last].lora == lora; ++last) rows += segments[last].rows;
    const int64_t row = segments[first].row;
    first = last;
    if (lora == nullptr) continue;
    const LoraLinear& linear = lora->layers[layer][static_cast<size_t>(module)];
    if (linear.rank == 0) continue;
    lora_.resize(std::max(lora_.size(), static_cast<size_t>(rows * linear.rank)));
    kernels::MatmulCall down;
    down.x = x + row * x_stride;
    down.x_stride = x_stride;
    down.rows = rows;
    down.weights = linear.a.data();
    down.depth = static_cast<int64_t>(linear.a.size()) / linear.rank;
    down.y = lora_.data();
    down.y_stride = linear.rank;
    multiply(down, linear.rank);
    kernels::MatmulCall up;
    up.x = lora_.data();
    up.x_stride = linear.rank;
    up.rows = rows;
    up.weights = linear.b.data();
    up.depth = linear.rank;
    up.y = y + row * y_stride;
    up.y_stride = y_stride;
    up.accumulate = true;
    multiply(up, static_cast<int64_t>(linear.b.size()) / linear.rank);
  }
}

void Decoder::normalize(const float* x, const std::vector<float>& weight, int64_t rows, float* out) {
  const int64_t size = architecture_.hidden_size;
  const auto epsilon = static_cast<float>(architecture_.rms_norm_eps);
  const auto one = [&](int64_t row, int) {
    table_.rms_norm(x + row * size, weight.data(), epsilon, size, out + row * size);
  };
  if (rows * size <= kSerialWork) {
    for (int64_t row = 0; row < rows; ++row) one(row, 0);
  } else {
    pool_.run(rows, one);
  }
}

void Decoder::rotate_and_store(std::span<const Segment> segments, int64_t layer, const KvCache& cache) {
  const int64_t head_dim = architecture_.head_dim, half = head_dim / 2;
  const int64_t width = queries_ + 2 * keys_;
  const auto one = [&](const Segment& segment, int64_t i) {
    const int64_t position = segment.position + i;
    float* row = attention_in_.data() + (segment.row + i) * width;
    const float* cosines = cosines_.data() + position * half;
    const float* sines = sines_.data() + position * half;
    for (int64_t head = 0; head < (queries_ + keys_) / head_dim; ++head) {
      float* first = row + head * head_dim;
      float* second = first + half;
      for (int64_t d = 0; d < half; ++d) {
        const float x = first[d], y = second[d];
        first[d] = x * cosines[d] - y * sines[d];
        second[d] = y * cosines[d] + x * sines[d];
      }
    }
    const int64_t slot = segment.pages[position / kernels::kPageTokens] * cache.page_stride() +
                         position % kernels::kPageTokens * head_dim;
    const auto bytes = static_cast<size_t>(head_dim) * sizeof(float);
    for (int64_t head = 0; head < architecture_.num_key_value_heads; ++head) {
      std::memcpy(cache.keys(layer, head) + slot, row + queries_ + head * head_dim, bytes);
      std::memcpy(cache.values(layer, head) + slot, row + queries_ + keys_ + head * head_dim, bytes);
    }
  };
  for (const Segment& segment : segments) {
    if (segment.rows * width <= kSerialWork) {
      for (int64_t i = 0; i < segment.rows; ++i) one(segment, i);
    } else {
      pool_.run(segment.rows, [&](int64_t i, int) { one(segment, i); });
    }
  }
}

void Decoder::attend(std::span<const Segment> segments, int64_t layer, const KvCache& cache) {
  const int64_t head_dim = architecture_.head_dim;
  const int64_t groups = architecture_.num_key_value_heads;
  const int64_t group = architecture_.num_attention_heads / groups;
  const int64_t width = queries_ + 2 * keys_;
  const int64_t rows = segments.back().row + segments.back().rows;
  // One task per row and key-value head; with few rows per query head, so that there is something for each thread.
  const bool split = rows * groups < 4 * pool_.threads();
  const int64_t tasks_of_row = split ? groups * group : groups;
  int64_t work = 0, longest = 0;
  for (const Segment& segment : segments) {
    work += segment.rows * (segment.position + segment.rows) * queries_;
    longest = std::max(longest, segment.position + segment.rows);
  }
  const auto needed = static_cast<size_t>(group * (longest + kernels::kPageTokens));
  for (auto& scores : scores_) {
    if (scores.size() < needed) scores.resize(2 * needed);
  }
  const auto one = [&](int64_t index, int worker) {
    const int64_t row = index / tasks_of_row;
    const int64_t task = index % tasks_of_row;
    // The last segment that begins at or before the row.
    const Segment& segment = *std::prev(std::upper_bound(
        segments.begin(), segments.end(), row, [](int64_t value, const Segment& other) { return value < other.row; }));
    const int64_t head = split ? task : task * group;
    const int64_t key_head = head / group;
    kernels::AttentionCall call;
    call.queries = attention_in_.data() + row * width + head * head_dim;
    call.heads = split ? 1 : group;
    call.head_dim = head_dim;
    call.keys = cache.keys(layer, key_head);
    call.values = cache.values(layer, key_head);
    call.pages = segment.pages;
    call.page_stride = cache.page_stride();
    call.length = segment.position + row - segment.row + 1;
    call.scale = 1.0F / std::sqrt(static_cast<float>(head_dim));
    call.out = attention_out_.data() + row * queries_ + head * head_dim;
    call.scores = scores_[static_cast<size_t>(worker)].data();
    table_.attention(call);
  };
  const int64_t tasks = rows * tasks_of_row;
  if (work <= kSerialWork) {
    for (int64_t index = 0; index < tasks; ++index) one(index, 0);
  } else {
    pool_.run(tasks, one);
  }
}

void Decoder::activate(int64_t rows) {
  const int64_t size = architecture_.intermediate_size;
  const auto one = [&](int64_t row, int) {
    float* gate = mlp_.data() + row * 2 * size;
    const float* up = gate + size;
    switch (architecture_.activation) {
      case model::Activation::kSilu:
        table_.silu_multiply(gate, up, size);
        break;
      case model::Activation::kGelu:
        for (int64_t i = 0; i < size; ++i) gate[i] = 0.5F * gate[i] * (1 + std::erf(gate[i] * 0.70710678F)) * up[i];
        break;
      case model::Activation::kGeluTanh:
        for (int64_t i = 0; i < size; ++i) {
          const float g = gate[i];
          gate[i] = 0.5F * g * (1 + std::tanh(0.79788456F * (g + 0.044715F * g * g * g))) * up[i];
        }
        break;
    }
  };
  if (rows * size <= kSerialWork) {
    for (int64_t row = 0; row < rows; ++row) one(row, 0);
  } else {
    pool_.run(rows, one);
  }
}

void Decoder::forward(std::span<const int32_t> tokens, std::span<const Segment> segments, const KvCache& cache) {
  const auto rows = static_cast<int64_t>(tokens.size());
  const int64_t hidden = architecture_.hidden_size, inner = architecture_.intermediate_size;
  const int64_t width = queries_ + 2 * keys_;
  reserve(rows);
  for (int64_t row = 0; row < rows; ++row)
    embeddings_.read_row(tokens[static_cast<size_t>(row)], hidden_.data() + row * hidden);
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    normalize(hidden_.data(), layer.attention_norm, rows, normed_.data());
    linear(normed_.data(), hidden, rows, layer.attention_in, layer.attention_in_bias, attention_in_.data(), width,
           false);
    add_lora(segments, i, Module::kQuery, normed_.data(), hidden, attention_in_.data(), width);
    add_lora(segments, i, Module::kKey, normed_.data(), hidden, attention_in_.data() + queries_, width);
    add_lora(segments, i, Module::kValue, normed_.data(), hidden, attention_in_.data() + queries_ + keys_, width);
    rotate_and_store(segments, static_cast<int64_t>(i), cache);
    attend(segments, static_cast<int64_t>(i), cache);
    linear(attention_out_.data(), queries_, rows, layer.attention_out, layer.attention_out_bias, hidden_.data(), hidden,
           true);
    add_lora(segments, i, Module::kOutput, attention_out_.data(), queries_, hidden_.data(), hidden);

    normalize(hidden_.data(), layer.mlp_norm, rows, normed_.data());
    linear(normed_.data(), hidden, rows, layer.mlp_in, layer.mlp_in_bias, mlp_.data(), 2 * inner, false);
    add_lora(segments, i, Module::kGate, normed_.data(), hidden, mlp_.data(), 2 * inner);
    add_lora(segments, i, Module::kUp, normed_.data(), hidden, mlp_.data() + inner, 2 * inner);
    activate(rows);
    linear(mlp_.data(), 2 * inner, rows, layer.mlp_out, layer.mlp_out_bias, hidden_.data(), hidden, true);
    add_lora(segments, i, Module::kDown, mlp_.data(), 2 * inner, hidden_.data(), hidden);
  }
}

void Decoder::logits(std::span<const int64_t> rows, float* out) {
  const int64_t hidden = architecture_.hidden_size;
  const auto count = static_cast<int64_t>(rows.size());
  gathered_.resize(std::max(gathered_.size(), static_cast<size_t>(2 * count * hidden)));
  float* normed = gathered_.data() + count * hidden;
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(gathered_.data() + i * hidden, hidden_.data() + rows[static_cast<size_t>(i)] * hidden,
                static_cast<size_t>(hidden) * sizeof(float));
  }
  normalize(gathered_.data(), final_norm_, count, normed);
  const Matrix& head = architecture_.tie_word_embeddings ? embeddings_ : output_;
  linear(normed, hidden, count, head, {}, out, architecture_.vocab_size, false);
}

}  // namespace slipway::runtime
