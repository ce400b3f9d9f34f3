#include "agents/engine/runtime/decoder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "agents/engine/runtime/weight_loader.h"

namespace slipway::runtime {
namespace {

// Below this many multiplications a loop is not worth waking the workers for.
constexpr int64_t kSerialWork = 1 << 15;
// Rows that one task of a loop over rows takes.
constexpr int64_t kRowsOfTask = 8;

// The embeddings, and with them the output, keep eight bits where the layers have four: every token passes them whole.
kernels::WeightFormat format_of_output(kernels::WeightFormat format) {
  return format == kernels::WeightFormat::kInt4 ? kernels::WeightFormat::kInt8 : format;
}

// What an adapter may change between the norm and the end of the inner layer.
constexpr Module kInnerModules[] = {Module::kGate, Module::kUp, Module::kDown};
constexpr int64_t kStripBlock = 64;  // whole blocks of every format

// Columns of the inner layer that one task computes for all rows.
int64_t strip_columns(int64_t inner, int64_t rows, int threads) {
  // As many as leave their floats in the second level cache, and give every thread some tasks.
  constexpr int64_t kStripFloats = 64 * 1024;
  const int64_t fitting = std::max<int64_t>(1, kStripFloats / (2 * std::max<int64_t>(1, rows) * kStripBlock));
  const int64_t blocks = (inner + kStripBlock - 1) / kStripBlock;
  return kStripBlock * std::clamp<int64_t>(blocks / (4 * threads), 1, fitting);
}

// A strip's rows lie an odd number of lines apart, so that they do not share the sets of a cache.
int64_t strip_stride(int64_t columns) { return columns + kernels::kPanel; }

// Panels that one task of a product takes: some tasks per thread, so that one that is held up does not hold up all; in
// twos, as the kernels take them.
int64_t panels_of_task(int64_t panels, int threads) {
  constexpr int64_t kTasksPerThread = 4;
  const int64_t tasks = kTasksPerThread * threads;
  return std::max<int64_t>(2, ((panels + tasks - 1) / tasks + 1) / 2 * 2);
}

}  // namespace

Decoder::Decoder(const std::filesystem::path& path, const model::Architecture& architecture,
                 kernels::WeightFormat format, int64_t max_length, ThreadPool& pool, const kernels::Table& table)
    : architecture_(architecture),
      format_(format),
      pool_(pool),
      table_(table),
      queries_(architecture.num_attention_heads * architecture.head_dim),
      keys_(architecture.num_key_value_heads * architecture.head_dim) {
  WeightLoader loader(path, table);
  const int64_t hidden = architecture.hidden_size;
  const auto output_format = format_of_output(format);
  loader.matrix("model.embed_tokens.weight", architecture.vocab_size, hidden, output_format, embeddings_.weights);
  if (!architecture.tie_word_embeddings)
    loader.matrix("lm_head.weight", architecture.vocab_size, hidden, output_format, output_.weights);
  final_norm_ = loader.vector("model.norm.weight", hidden);
  layers_.reserve(static_cast<size_t>(architecture.num_hidden_layers));
  for (int64_t i = 0; i < architecture.num_hidden_layers; ++i) load_layer(loader, i, layers_.emplace_back());
  loader.load(pool);

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
  strips_.resize(static_cast<size_t>(pool.threads()));
  for (int i = 0; i < pool.threads(); ++i)
    attention_scratch_.emplace_back(static_cast<size_t>(kernels::attention_scratch_bytes(architecture.head_dim)));
}

void Decoder::load_linear(WeightLoader& loader, const std::string& name, int64_t rows, int64_t columns, bool bias,
                          Linear& linear) {
  loader.matrix(name + ".weight", rows, columns, format_, linear.weights);
  if (bias) linear.bias = loader.vector(name + ".bias", rows);
}

void Decoder::load_layer(WeightLoader& loader, int64_t index, Layer& layer) {
  const int64_t hidden = architecture_.hidden_size, inner = architecture_.intermediate_size;
  const std::string prefix = "model.layers." + std::to_string(index) + ".";
  const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
  layer.attention_norm = loader.vector(prefix + "input_layernorm.weight", hidden);
  layer.mlp_norm = loader.vector(prefix + "post_attention_layernorm.weight", hidden);
  load_linear(loader, attention + "q_proj", queries_, hidden, architecture_.attention_bias, layer.query);
  load_linear(loader, attention + "k_proj", keys_, hidden, architecture_.attention_bias, layer.key);
  load_linear(loader, attention + "v_proj", keys_, hidden, architecture_.attention_bias, layer.value);
  load_linear(loader, attention + "o_proj", hidden, queries_, architecture_.attention_bias, layer.output);
  load_linear(loader, mlp + "gate_proj", inner, hidden, architecture_.mlp_bias, layer.gate);
  load_linear(loader, mlp + "up_proj", inner, hidden, architecture_.mlp_bias, layer.up);
  load_linear(loader, mlp + "down_proj", hidden, inner, architecture_.mlp_bias, layer.down);
}

kernels::CacheFormat Decoder::cache_format() const {
  return format_ == kernels::WeightFormat::kF32 ? kernels::CacheFormat::kF32 : kernels::CacheFormat::kBF16;
}

void Decoder::reserve(int64_t rows) {
  if (rows <= reserved_rows_) return;
  const auto sized = [&](std::vector<float>& buffer, int64_t width) {
    buffer.resize(static_cast<size_t>(rows * width));
  };
  const int64_t hidden = architecture_.hidden_size, inner = architecture_.intermediate_size;
  sized(hidden_, hidden);
  sized(normed_, hidden);
  sized(gathered_, hidden);
  sized(attention_in_, queries_ + 2 * keys_);
  sized(attention_out_, queries_);
  int64_t packed = 0;
  for (const int64_t width : {hidden, inner, queries_}) {
    for (const auto format : {format_, format_of_output(format_)}) {
      packed = std::max(packed, kernels::activation_bytes(format, width));
    }
  }
  packed_ = Pages(static_cast<size_t>(rows * packed));
  packed_inner_ = Pages(static_cast<size_t>(rows * kernels::activation_bytes(format_, inner)));
  // The widest strip of all numbers of rows up to this one.
  int64_t strip = 0;
  for (int64_t count = 1; count <= rows; ++count) {
    strip = std::max(strip, 2 * count * strip_stride(strip_columns(inner, count, pool_.threads())));
  }
  for (Pages& pages : strips_) pages = Pages(static_cast<size_t>(strip) * sizeof(float));
  reserved_rows_ = rows;
}

template <typename Body>
void Decoder::parallel(int64_t count, int64_t work, const Body& body) {
  if (work <= kSerialWork) {
    for (int64_t index = 0; index < count; ++index) body(index, 0);
  } else {
    pool_.run(count, body);
  }
}

// Cuts the batch into what tasks take: for attention some rows of a segment, for the cache those of one page.
void Decoder::plan(std::span<const Segment> segments) {
  page_ranges_.clear();
  query_ranges_.clear();
  positions_ = 0;
  const int64_t group = architecture_.num_attention_heads / architecture_.num_key_value_heads;
  const int64_t most = std::max<int64_t>(1, kernels::kAttentionQueries / group);
  for (const Segment& segment : segments) {
    for (int64_t row = 0; row < segment.rows;) {
      const int64_t slot = (segment.position + row) % kernels::kPageTokens;
      page_ranges_.push_back({&segment, row, std::min(kernels::kPageTokens - slot, segment.rows - row)});
      row += page_ranges_.back().rows;
    }
    for (int64_t row = 0; row < segment.rows; row += most) {
      query_ranges_.push_back({&segment, row, std::min(most, segment.rows - row)});
    }
    positions_ += segment.rows * (segment.position + segment.rows);
  }
}

Decoder::Input Decoder::normalize(const float* x, const std::vector<float>& weight, int64_t rows,
                                  kernels::WeightFormat format) {
  const int64_t size = architecture_.hidden_size;
  const auto epsilon = static_cast<float>(architecture_.rms_norm_eps);
  const int64_t bytes = kernels::activation_bytes(format, size);
  parallel((rows + kRowsOfTask - 1) / kRowsOfTask, 4 * rows * size, [&](int64_t index, int) {
    for (int64_t row = index * kRowsOfTask; row < std::min(rows, (index + 1) * kRowsOfTask); ++row) {
      float* normed = normed_.data() + row * size;
      table_.rms_norm(x + row * size, weight.data(), epsilon, size, normed);
      if (format != kernels::WeightFormat::kF32) {
        table_.pack_row({format, normed, 0, size, size, packed_.as<std::byte>() + row * bytes});
      }
    }
  });
  return {normed_.data(), size, packed_.as<std::byte>()};
}

Decoder::Input Decoder::pack(const float* x, int64_t stride, int64_t rows, int64_t width) {
  if (format_ != kernels::WeightFormat::kF32) {
    const int64_t bytes = kernels::activation_bytes(format_, width);
    parallel((rows + kRowsOfTask - 1) / kRowsOfTask, 4 * rows * width, [&](int64_t index, int) {
      for (int64_t row = index * kRowsOfTask; row < std::min(rows, (index + 1) * kRowsOfTask); ++row) {
        table_.pack_row({format_, x + row * stride, 0, width, width, packed_.as<std::byte>() + row * bytes});
      }
    });
  }
  return {x, stride, packed_.as<std::byte>()};
}

kernels::MatmulCall Decoder::matmul_call(const Input& input, int64_t rows, const Product& product) const {
  const Matrix& weights = product.linear->weights;
  kernels::MatmulCall call;
  call.format = weights.format();
  call.depth = weights.columns();
  const bool f32 = call.format == kernels::WeightFormat::kF32;
  call.x = f32 ? static_cast<const void*>(input.x) : input.packed;
  call.x_stride =
      f32 ? input.stride * static_cast<int64_t>(sizeof(float)) : kernels::activation_bytes(call.format, call.depth);
  call.rows = rows;
  call.weights = weights.data();
  call.end = weights.rows();
  call.bias = product.linear->bias.empty() ? nullptr : product.linear->bias.data();
  call.y = product.y;
  call.y_stride = product.stride;
  call.accumulate = product.accumulate;
  return call;
}

void Decoder::multiply(const Input& input, int64_t rows, std::span<const Product> products) {
  int64_t panels = 0;
  for (const Product& product : products) panels += product.linear->weights.panels();
  const int64_t piece = panels_of_task(panels, pool_.threads());
  int64_t tasks = 0;
  for (const Product& product : products) tasks += (product.linear->weights.panels() + piece - 1) / piece;
  const int64_t depth = products.front().linear->weights.columns();
  parallel(tasks, rows * panels * kernels::kPanel * depth, [&](int64_t index, int) {
    auto product = products.begin();
    for (;; ++product) {
      const int64_t of_product = (product->linear->weights.panels() + piece - 1) / piece;
      if (index < of_product) break;
      index -= of_product;
    }
    kernels::MatmulCall call = matmul_call(input, rows, *product);
    call.begin = index * piece * kernels::kPanel;
    call.end = std::min(call.end, call.begin + piece * kernels::kPanel);
    table_.matmul(call);
  });
}

void Decoder::multiply_f32(kernels::MatmulCall call, int64_t columns) {
  const int64_t piece =
      panels_of_task((columns + kernels::kPanel - 1) / kernels::kPanel, pool_.threads()) * kernels::kPanel;
  parallel((columns + piece - 1) / piece, call.rows * columns * call.depth, [&](int64_t index, int) {
    kernels::MatmulCall part = call;
    part.begin = index * piece;
    part.end = std::min(columns, part.begin + piece);
    table_.matmul(part);
  });
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
    down.x_stride = x_stride * static_cast<int64_t>(sizeof(float));
    down.rows = rows;
    down.weights = linear.a.data();
    down.depth = static_cast<int64_t>(linear.a.size()) / linear.rank;
    down.y = lora_.data();
    down.y_stride = linear.rank;
    multiply_f32(down, linear.rank);
    kernels::MatmulCall up;
    up.x = lora_.data();
    up.x_stride = linear.rank * static_cast<int64_t>(sizeof(float));
    up.rows = rows;
    up.weights = linear.b.data();
    up.depth = linear.rank;
    up.y = y + row * y_stride;
    up.y_stride = y_stride;
    up.accumulate = true;
    multiply_f32(up, static_cast<int64_t>(linear.b.size()) / linear.rank);
  }
}

void Decoder::rotate_and_store(int64_t layer, const KvCache& cache) {
  const int64_t head_dim = architecture_.head_dim, half = head_dim / 2;
  const int64_t width = queries_ + 2 * keys_;
  const auto rotate = [&](float* row, int64_t position) {
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
  };
  const auto ranges = static_cast<int64_t>(page_ranges_.size());
  const auto rows = page_ranges_.back().segment->row + page_ranges_.back().segment->rows;
  parallel(ranges, 4 * rows * width, [&](int64_t index, int) {
    const RowRange& range = page_ranges_[static_cast<size_t>(index)];
    const int64_t position = range.segment->position + range.first;
    float* row = attention_in_.data() + (range.segment->row + range.first) * width;
    for (int64_t i = 0; i < range.rows; ++i) rotate(row + i * width, position + i);
    const int64_t page = range.segment->pages[position / kernels::kPageTokens] * cache.page_bytes();
    for (int64_t head = 0; head < architecture_.num_key_value_heads; ++head) {
      kernels::StoreCall call;
      call.keys = row + queries_ + head * head_dim;
      call.values = call.keys + keys_;
      call.stride = width;
      call.count = range.rows;
      call.head_dim = head_dim;
      call.format = cache.format();
      call.slot = position % kernels::kPageTokens;
      call.key_page = cache.keys(layer, head) + page;
      call.value_page = cache.values(layer, head) + page;
      table_.store_tokens(call);
    }
  });
}

void Decoder::attend(int64_t layer, const KvCache& cache) {
  const int64_t head_dim = architecture_.head_dim;
  const int64_t groups = architecture_.num_key_value_heads;
  const int64_t group = architecture_.num_attention_heads / groups;
  const int64_t width = queries_ + 2 * keys_;
  const auto tasks = static_cast<int64_t>(query_ranges_.size()) * groups;
  parallel(tasks, positions_ * queries_, [&](int64_t index, int worker) {
    // The last rows see most positions: they go first, so that no thread is left with one at the end.
    const RowRange& range = query_ranges_[query_ranges_.size() - 1 - static_cast<size_t>(index / groups)];
    const int64_t key_head = index % groups, row = range.segment->row + range.first;
    kernels::AttentionCall call;
    call.queries = attention_in_.data() + row * width + key_head * group * head_dim;
    call.query_stride = width;
    call.rows = range.rows;
    call.heads = group;
    call.head_dim = head_dim;
    call.position = range.segment->position + range.first;
    call.keys = cache.keys(layer, key_head);
    call.values = cache.values(layer, key_head);
    call.pages = range.segment->pages;
    call.page_bytes = cache.page_bytes();
    call.format = cache.format();
    call.scale = 1.0F / std::sqrt(static_cast<float>(head_dim));
    call.scratch = attention_scratch_[static_cast<size_t>(worker)].as<void>();
    call.out = attention_out_.data() + row * queries_ + key_head * group * head_dim;
    call.out_stride = queries_;
    table_.attention(call);
  });
}

void Decoder::attention(std::span<const Segment> segments, size_t index, const KvCache& cache) {
  const Layer& layer = layers_[index];
  const int64_t hidden = architecture_.hidden_size, width = queries_ + 2 * keys_;
  const int64_t rows = segments.back().row + segments.back().rows;
  float* query = attention_in_.data();
  float* key = query + queries_;
  float* value = key + keys_;
  const Input input = normalize(hidden_.data(), layer.attention_norm, rows, format_);
  multiply(
      input, rows,
      std::array<Product, 3>{{{&layer.query, query, width}, {&layer.key, key, width}, {&layer.value, value, width}}});
  add_lora(segments, index, Module::kQuery, input.x, hidden, query, width);
  add_lora(segments, index, Module::kKey, input.x, hidden, key, width);
  add_lora(segments, index, Module::kValue, input.x, hidden, value, width);
  rotate_and_store(static_cast<int64_t>(index), cache);
  attend(static_cast<int64_t>(index), cache);
  const Input attended = pack(attention_out_.data(), queries_, rows, queries_);
  multiply(attended, rows, std::array<Product, 1>{{{&layer.output, hidden_.data(), hidden, true}}});
  add_lora(segments, index, Module::kOutput, attended.x, queries_, hidden_.data(), hidden);
}

// gate[row, i] = activation(gate[row, i]) · up[row, i]
void Decoder::activate(float* gate, const float* up, int64_t rows, int64_t stride, int64_t size) {
  for (int64_t row = 0; row < rows; ++row, gate += stride, up += stride) {
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
  }
}

// The inner layer without adapters: a task computes some columns of gate and up, activates and packs them while they
// are near, so that the wide rows never go to memory as floats.
Decoder::Input Decoder::inner_packed(const Layer& layer, const Input& input, int64_t rows) {
  const int64_t inner = architecture_.intermediate_size, hidden = architecture_.hidden_size;
  const int64_t bytes = kernels::activation_bytes(format_, inner);
  const int64_t panels = layer.gate.weights.panels();
  const int64_t piece = strip_columns(inner, rows, pool_.threads());
  parallel((inner + piece - 1) / piece, 2 * rows * panels * kernels::kPanel * hidden, [&](int64_t task, int worker) {
    const int64_t begin = task * piece, size = std::min(piece, inner - begin);
    const int64_t stride = strip_stride(piece);
    float* gate = strips_[static_cast<size_t>(worker)].as<float>();
    float* up = gate + rows * stride;
    for (const auto& [linear, y] : {std::pair{&layer.gate, gate}, {&layer.up, up}}) {
      kernels::MatmulCall call = matmul_call(input, rows, {linear, y - begin, stride});
      call.begin = begin;
      call.end = begin + size;
      table_.matmul(call);
    }
    activate(gate, up, rows, stride, size);
    for (int64_t row = 0; row < rows; ++row) {
      table_.pack_row({format_, gate + row * stride, begin, size, inner, packed_inner_.as<std::byte>() + row * bytes});
    }
  });
  return {nullptr, 0, packed_inner_.as<std::byte>()};
}

// The inner layer through memory, for adapters of its parts and for f32 weights.
Decoder::Input Decoder::inner_plain(std::span<const Segment> segments, size_t index, const Input& input, int64_t rows) {
  const Layer& layer = layers_[index];
  const int64_t hidden = architecture_.hidden_size, inner = architecture_.intermediate_size;
  mlp_.resize(std::max(mlp_.size(), static_cast<size_t>(rows * 2 * inner)));
  float* gate = mlp_.data();
  float* up = gate + inner;
  multiply(input, rows, std::array<Product, 2>{{{&layer.gate, gate, 2 * inner}, {&layer.up, up, 2 * inner}}});
  add_lora(segments, index, Module::kGate, input.x, hidden, gate, 2 * inner);
  add_lora(segments, index, Module::kUp, input.x, hidden, up, 2 * inner);
  parallel((rows + kRowsOfTask - 1) / kRowsOfTask, 4 * rows * inner, [&](int64_t task, int) {
    const int64_t first = task * kRowsOfTask * 2 * inner;
    activate(gate + first, up + first, std::min(kRowsOfTask, rows - task * kRowsOfTask), 2 * inner, inner);
  });
  return pack(gate, 2 * inner, rows, inner);
}

void Decoder::mlp(std::span<const Segment> segments, size_t index, int64_t rows) {
  const Layer& layer = layers_[index];
  const int64_t hidden = architecture_.hidden_size;
  const auto adapted = [&](const Segment& segment) {
    if (segment.lora == nullptr) return false;
    const auto& modules = segment.lora->layers[index];
    return std::any_of(std::begin(kInnerModules), std::end(kInnerModules),
                       [&](Module module) { return modules[static_cast<size_t>(module)].rank > 0; });
  };
  const bool plain = format_ == kernels::WeightFormat::kF32 || std::any_of(segments.begin(), segments.end(), adapted);
  const Input input = normalize(hidden_.data(), layer.mlp_norm, rows, format_);
  const Input activated = plain ? inner_plain(segments, index, input, rows) : inner_packed(layer, input, rows);
  multiply(activated, rows, std::array<Product, 1>{{{&layer.down, hidden_.data(), hidden, true}}});
  if (plain) add_lora(segments, index, Module::kDown, activated.x, activated.stride, hidden_.data(), hidden);
}

void Decoder::forward(std::span<const int32_t> tokens, std::span<const Segment> segments, const KvCache& cache) {
  const auto rows = static_cast<int64_t>(tokens.size());
  const int64_t hidden = architecture_.hidden_size;
  reserve(rows);
  plan(segments);
  parallel(rows, 4 * rows * hidden, [&](int64_t row, int) {
    embeddings_.weights.read_row(tokens[static_cast<size_t>(row)], hidden_.data() + row * hidden);
  });
  for (size_t i = 0; i < layers_.size(); ++i) {
    attention(segments, i, cache);
    mlp(segments, i, rows);
  }
}

void Decoder::logits(std::span<const int64_t> rows, float* out) {
  const int64_t hidden = architecture_.hidden_size;
  const auto count = static_cast<int64_t>(rows.size());
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(gathered_.data() + i * hidden, hidden_.data() + rows[static_cast<size_t>(i)] * hidden,
                static_cast<size_t>(hidden) * sizeof(float));
  }
  const Linear& head = architecture_.tie_word_embeddings ? embeddings_ : output_;
  const Input input = normalize(gathered_.data(), final_norm_, count, head.weights.format());
  multiply(input, count, std::array<Product, 1>{{{&head, out, architecture_.vocab_size}}});
}

}  // namespace slipway::runtime
