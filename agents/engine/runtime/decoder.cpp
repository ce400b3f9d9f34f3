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

// What an adapter may change between the norm and the end of the MLP.
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
  WeightLoader loader(path, architecture, table);
  const int64_t hidden = architecture.hidden_size;
  const auto output_format = format_of_output(format);
  loader.matrix("model.embed_tokens.weight", architecture.vocab_size, hidden, output_format, embeddings_.weights);
  if (!architecture.tie_word_embeddings)
    loader.matrix("lm_head.weight", architecture.vocab_size, hidden, output_format, output_.weights);
  if (architecture.positions == model::PositionKind::kLearned) {
    loader.matrix("model.embed_positions.weight", architecture.max_position_embeddings, hidden,
                  kernels::WeightFormat::kF32, positions_embedded_.weights);
  }
  final_norm_ = load_norm(loader, "model.norm");
  layers_.reserve(static_cast<size_t>(architecture.num_hidden_layers));
  for (int64_t i = 0; i < architecture.num_hidden_layers; ++i) load_layer(loader, i, layers_.emplace_back());
  loader.load(pool);

  if (architecture.positions == model::PositionKind::kRotary) {
    angles_ = make_angles(architecture.rope, max_length);
    if (architecture.sliding_window > 0) local_angles_ = make_angles(architecture.local_rope, max_length);
  }
  strips_.resize(static_cast<size_t>(pool.threads()));
  int64_t scratch = kernels::attention_scratch_bytes(architecture.head_dim);
  for (const int64_t depth : {hidden, architecture.intermediate_size, queries_})
    scratch = std::max(scratch, kernels::matmul_scratch_bytes(format, depth));
  for (int i = 0; i < pool.threads(); ++i) scratch_.emplace_back(static_cast<size_t>(scratch));
}

Decoder::Angles Decoder::make_angles(const model::Rope& rope, int64_t max_length) const {
  const auto frequencies = model::rope_inverse_frequencies(rope, architecture_.rotary_dim);
  const auto factor = static_cast<float>(rope.attention_factor);
  Angles angles;
  angles.cosines.reserve(static_cast<size_t>(max_length) * frequencies.size());
  angles.sines.reserve(angles.cosines.capacity());
  for (int64_t position = 0; position < max_length; ++position) {
    for (const float frequency : frequencies) {
      const float angle = static_cast<float>(position) * frequency;
      angles.cosines.push_back(std::cos(angle) * factor);
      angles.sines.push_back(std::sin(angle) * factor);
    }
  }
  return angles;
}

Decoder::Norm Decoder::load_norm(WeightLoader& loader, const std::string& name) const {
  Norm norm{loader.vector(name + ".weight", architecture_.hidden_size), {}};
  if (architecture_.norm == model::NormKind::kLayer)
    norm.bias = loader.vector(name + ".bias", architecture_.hidden_size);
  return norm;
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
  layer.attention_norm = load_norm(loader, prefix + "input_layernorm");
  layer.mlp_norm = load_norm(loader, prefix + "post_attention_layernorm");
  if (architecture_.output_norms) {
    layer.attention_output_norm = load_norm(loader, prefix + "attention_output_norm");
    layer.mlp_output_norm = load_norm(loader, prefix + "mlp_output_norm");
  }
  if (architecture_.query_key_norm) {
    layer.query_norm = loader.vector(attention + "q_norm.weight", architecture_.head_dim);
    layer.key_norm = loader.vector(attention + "k_norm.weight", architecture_.head_dim);
  }
  load_linear(loader, attention + "q_proj", queries_, hidden, architecture_.attention_bias, layer.query);
  load_linear(loader, attention + "k_proj", keys_, hidden, architecture_.attention_bias, layer.key);
  load_linear(loader, attention + "v_proj", keys_, hidden, architecture_.attention_bias, layer.value);
  load_linear(loader, attention + "o_proj", hidden, queries_, architecture_.attention_output_bias, layer.output);
  if (architecture_.gated_mlp)
    load_linear(loader, mlp + "gate_proj", inner, hidden, architecture_.mlp_bias, layer.gate);
  load_linear(loader, mlp + "up_proj", inner, hidden, architecture_.mlp_bias, layer.up);
  load_linear(loader, mlp + "down_proj", hidden, inner, architecture_.mlp_bias, layer.down);
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
  sized(branch_, hidden);
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

void Decoder::norm_row(const Norm& norm, const float* x, float* out) const {
  const auto epsilon = static_cast<float>(architecture_.rms_norm_eps);
  if (norm.bias.empty()) {
    table_.rms_norm(x, norm.weight.data(), epsilon, architecture_.hidden_size, out);
  } else {
    table_.layer_norm(x, norm.weight.data(), norm.bias.data(), epsilon, architecture_.hidden_size, out);
  }
}

Decoder::Input Decoder::normalize(const float* x, const Norm& norm, int64_t rows, kernels::WeightFormat format) {
  const int64_t size = architecture_.hidden_size;
  const int64_t bytes = kernels::activation_bytes(format, size);
  parallel((rows + kRowsOfTask - 1) / kRowsOfTask, 4 * rows * size, [&](int64_t index, int) {
    for (int64_t row = index * kRowsOfTask; row < std::min(rows, (index + 1) * kRowsOfTask); ++row) {
      float* normed = normed_.data() + row * size;
      norm_row(norm, x + row * size, normed);
      if (format != kernels::WeightFormat::kF32) {
        table_.pack_row({format, normed, 0, size, size, packed_.as<std::byte>() + row * bytes});
      }
    }
  });
  return {normed_.data(), size, packed_.as<std::byte>()};
}

bool Decoder::adapted(std::span<const Segment> segments, size_t layer, Module module) const {
  return std::any_of(segments.begin(), segments.end(), [&](const Segment& segment) {
    return segment.lora != nullptr && segment.lora->layers[layer][static_cast<size_t>(module)].rank > 0;
  });
}

void Decoder::add_branch(const Norm& norm, int64_t rows) {
  const int64_t size = architecture_.hidden_size;
  parallel((rows + kRowsOfTask - 1) / kRowsOfTask, 4 * rows * size, [&](int64_t index, int) {
    for (int64_t row = index * kRowsOfTask; row < std::min(rows, (index + 1) * kRowsOfTask); ++row) {
      float* branch = branch_.data() + row * size;
      if (!norm.weight.empty()) norm_row(norm, branch, branch);
      table_.add(hidden_.data() + row * size, branch, size);
    }
  });
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

kernels::MatmulCall Decoder::matmul_call(const Input& input, int64_t rows, const Product& product,
                                         int worker) const {
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
  call.scratch = scratch_[static_cast<size_t>(worker)].as<void>();
  return call;
}

void Decoder::multiply(const Input& input, int64_t rows, std::span<const Product> products) {
  int64_t panels = 0;
  for (const Product& product : products) panels += product.linear->weights.panels();
  const int64_t piece = panels_of_task(panels, pool_.threads());
  int64_t tasks = 0;
  for (const Product& product : products) tasks += (product.linear->weights.panels() + piece - 1) / piece;
  const int64_t depth = products.front().linear->weights.columns();
  parallel(tasks, rows * panels * kernels::kPanel * depth, [&](int64_t index, int worker) {
    auto product = products.begin();
    for (;; ++product) {
      const int64_t of_product = (product->linear->weights.panels() + piece - 1) / piece;
      if (index < of_product) break;
      index -= of_product;
    }
    kernels::MatmulCall call = matmul_call(input, rows, *product, worker);
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

void Decoder::add_lora(std::span<const Segment> segments, size_t layer, Module module, const Linear& linear,
                       const float* x, int64_t x_stride, float* y, int64_t y_stride) {
  for (size_t first = 0; first < segments.size();) {
    const Lora* lora = segments[first].lora;
    size_t last = first;
    int64_t rows = 0;
    for (; last < segments.size() && segments[last].lora == lora; ++last) rows += segments[last].rows;
    const int64_t row = segments[first].row;
    first = last;
    if (lora == nullptr) continue;
    const LoraLinear& change = lora->layers[layer][static_cast<size_t>(module)];
    if (change.rank == 0) continue;
    for (int64_t i = row; !change.gain.empty() && i < row + rows; ++i) {
      for (size_t j = 0; j < change.gain.size(); ++j) {
        const float bias = linear.bias.empty() ? 0.0F : linear.bias[j];
        float& value = y[i * y_stride + static_cast<int64_t>(j)];
        value = (value - bias) * change.gain[j] + bias;
      }
    }
    lora_.resize(std::max(lora_.size(), static_cast<size_t>(rows * change.rank)));
    kernels::MatmulCall down;
    down.x = x + row * x_stride;
    down.x_stride = x_stride * static_cast<int64_t>(sizeof(float));
    down.rows = rows;
    down.weights = change.a.data();
    down.depth = static_cast<int64_t>(change.a.size()) / change.rank;
    down.y = lora_.data();
    down.y_stride = change.rank;
    multiply_f32(down, change.rank);
    kernels::MatmulCall up;
    up.x = lora_.data();
    up.x_stride = change.rank * static_cast<int64_t>(sizeof(float));
    up.rows = rows;
    up.weights = change.b.data();
    up.depth = change.rank;
    up.y = y + row * y_stride;
    up.y_stride = y_stride;
    up.accumulate = true;
    multiply_f32(up, static_cast<int64_t>(change.b.size()) / change.rank);
  }
}

// RMS over each query's and each key's head.
void Decoder::normalize_heads(float* row, const Layer& layer) const {
  const int64_t head_dim = architecture_.head_dim;
  const auto epsilon = static_cast<float>(architecture_.rms_norm_eps);
  for (int64_t offset = 0; offset < queries_ + keys_; offset += head_dim) {
    const auto& weight = offset < queries_ ? layer.query_norm : layer.key_norm;
    table_.rms_norm(row + offset, weight.data(), epsilon, head_dim, row + offset);
  }
}

// Rotates the first rotary_dim elements of each query's and each key's head.
void Decoder::rotate(float* row, const Angles& angles, int64_t position) const {
  const int64_t half = architecture_.rotary_dim / 2;
  const float* cosines = angles.cosines.data() + position * half;
  const float* sines = angles.sines.data() + position * half;
  for (int64_t offset = 0; offset < queries_ + keys_; offset += architecture_.head_dim) {
    float* first = row + offset;
    float* second = first + half;
    for (int64_t d = 0; d < half; ++d) {
      const float x = first[d], y = second[d];
      first[d] = x * cosines[d] - y * sines[d];
      second[d] = y * cosines[d] + x * sines[d];
    }
  }
}

void Decoder::rotate_and_store(int64_t index, const KvCache& cache) {
  const Layer& layer = layers_[static_cast<size_t>(index)];
  const Angles& angles = architecture_.is_windowed(index) ? local_angles_ : angles_;
  const int64_t head_dim = architecture_.head_dim;
  const int64_t width = queries_ + 2 * keys_;
  const auto ranges = static_cast<int64_t>(page_ranges_.size());
  const auto rows = page_ranges_.back().segment->row + page_ranges_.back().segment->rows;
  parallel(ranges, 4 * rows * width, [&](int64_t task, int) {
    const RowRange& range = page_ranges_[static_cast<size_t>(task)];
    const int64_t position = range.segment->position + range.first;
    float* row = attention_in_.data() + (range.segment->row + range.first) * width;
    for (int64_t i = 0; i < range.rows; ++i) {
      if (architecture_.query_key_norm) normalize_heads(row + i * width, layer);
      if (architecture_.positions == model::PositionKind::kRotary) rotate(row + i * width, angles, position + i);
    }
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
      call.key_page = cache.keys(index, head) + page;
      call.value_page = cache.values(index, head) + page;
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
    call.scale = static_cast<float>(architecture_.attention_scale);
    call.softcap = static_cast<float>(architecture_.attention_softcap);
    call.window = architecture_.is_windowed(layer) ? architecture_.sliding_window : 0;
    call.scratch = scratch_[static_cast<size_t>(worker)].as<void>();
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
  add_lora(segments, index, Module::kQuery, layer.query, input.x, hidden, query, width);
  add_lora(segments, index, Module::kKey, layer.key, input.x, hidden, key, width);
  add_lora(segments, index, Module::kValue, layer.value, input.x, hidden, value, width);
  rotate_and_store(static_cast<int64_t>(index), cache);
  attend(static_cast<int64_t>(index), cache);
  const Input attended = pack(attention_out_.data(), queries_, rows, queries_);
  const bool plain = !architecture_.output_norms && !architecture_.parallel_residual;
  const bool apart = !plain || adapted(segments, index, Module::kOutput);
  float* out = apart ? branch_.data() : hidden_.data();
  multiply(attended, rows, std::array<Product, 1>{{{&layer.output, out, hidden, !apart}}});
  add_lora(segments, index, Module::kOutput, layer.output, attended.x, queries_, out, hidden);
  if (apart && !architecture_.parallel_residual) add_branch(layer.attention_output_norm, rows);
}

// gate[row, i] = activation(gate[row, i]) · up[row, i], or activation(gate[row, i]) without up.
void Decoder::activate(float* gate, const float* up, int64_t rows, int64_t stride, int64_t size) {
  const auto each = [&](const auto& function) {
    for (int64_t i = 0; i < size; ++i) gate[i] = up == nullptr ? function(gate[i]) : function(gate[i]) * up[i];
  };
  for (int64_t row = 0; row < rows; ++row, gate += stride, up = up == nullptr ? up : up + stride) {
    switch (architecture_.activation) {
      case model::Activation::kSilu:
        if (up != nullptr) {
          table_.silu_multiply(gate, up, size);
        } else {
          each([](float x) { return x / (1 + std::exp(-x)); });
        }
        break;
      case model::Activation::kGelu:
        each([](float x) { return 0.5F * x * (1 + std::erf(x * 0.70710678F)); });
        break;
      case model::Activation::kGeluTanh:
        each([](float x) { return 0.5F * x * (1 + std::tanh(0.79788456F * (x + 0.044715F * x * x * x))); });
        break;
    }
  }
}

// The inner layer without adapters: a task computes some columns of gate and up, activates and packs them while they
// are near, so that the wide rows never go to memory as floats.
Decoder::Input Decoder::inner_packed(const Layer& layer, const Input& input, int64_t rows) {
  const int64_t inner = architecture_.intermediate_size, hidden = architecture_.hidden_size;
  const int64_t bytes = kernels::activation_bytes(format_, inner);
  const int64_t panels = layer.up.weights.panels();
  const bool gated = architecture_.gated_mlp;
  const int64_t piece = strip_columns(inner, rows, pool_.threads());
  parallel((inner + piece - 1) / piece, 2 * rows * panels * kernels::kPanel * hidden, [&](int64_t task, int worker) {
    const int64_t begin = task * piece, size = std::min(piece, inner - begin);
    const int64_t stride = strip_stride(piece);
    float* gate = strips_[static_cast<size_t>(worker)].as<float>();
    float* up = gated ? gate + rows * stride : gate;  // without a gate, up has its place
    for (const auto& [linear, y] : {std::pair{&layer.gate, gate}, {&layer.up, up}}) {
      if (linear == &layer.gate && !gated) continue;
      kernels::MatmulCall call = matmul_call(input, rows, {linear, y - begin, stride}, worker);
      call.begin = begin;
      call.end = begin + size;
      table_.matmul(call);
    }
    activate(gate, gated ? up : nullptr, rows, stride, size);
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
  // Without a gate, up has its place.
  const bool gated = architecture_.gated_mlp;
  mlp_.resize(std::max(mlp_.size(), static_cast<size_t>(rows * 2 * inner)));
  float* gate = mlp_.data();
  float* up = gated ? gate + inner : gate;
  const Product both[] = {{&layer.gate, gate, 2 * inner}, {&layer.up, up, 2 * inner}};
  multiply(input, rows, std::span(both).subspan(gated ? 0 : 1));
  if (gated) add_lora(segments, index, Module::kGate, layer.gate, input.x, hidden, gate, 2 * inner);
  add_lora(segments, index, Module::kUp, layer.up, input.x, hidden, up, 2 * inner);
  parallel((rows + kRowsOfTask - 1) / kRowsOfTask, 4 * rows * inner, [&](int64_t task, int) {
    const int64_t first = task * kRowsOfTask * 2 * inner;
    activate(gate + first, gated ? up + first : nullptr, std::min(kRowsOfTask, rows - task * kRowsOfTask), 2 * inner,
             inner);
  });
  return pack(gate, 2 * inner, rows, inner);
}

void Decoder::mlp(std::span<const Segment> segments, size_t index, int64_t rows) {
  const Layer& layer = layers_[index];
  const int64_t hidden = architecture_.hidden_size;
  const bool plain = format_ == kernels::WeightFormat::kF32 ||
                     std::any_of(std::begin(kInnerModules), std::end(kInnerModules),
                                 [&](Module module) { return adapted(segments, index, module); });
  const Input input = normalize(hidden_.data(), layer.mlp_norm, rows, format_);
  const Input activated = plain ? inner_plain(segments, index, input, rows) : inner_packed(layer, input, rows);
  const bool apart = architecture_.output_norms || adapted(segments, index, Module::kDown);
  float* out = apart ? branch_.data() : hidden_.data();
  // With a parallel residual, attention's result waited until the MLP had read what attention read.
  if (architecture_.parallel_residual) add_branch({}, rows);
  multiply(activated, rows, std::array<Product, 1>{{{&layer.down, out, hidden, !apart}}});
  if (plain) add_lora(segments, index, Module::kDown, layer.down, activated.x, activated.stride, out, hidden);
  if (apart) add_branch(layer.mlp_output_norm, rows);
}

void Decoder::embed(std::span<const int32_t> tokens, std::span<const Segment> segments) {
  const int64_t hidden = architecture_.hidden_size;
  const auto rows = static_cast<int64_t>(tokens.size());
  const auto scale = static_cast<float>(architecture_.embedding_scale);
  parallel(rows, 4 * rows * hidden, [&](int64_t row, int) {
    float* out = hidden_.data() + row * hidden;
    embeddings_.weights.read_row(tokens[static_cast<size_t>(row)], out);
    if (scale != 1) std::transform(out, out + hidden, out, [&](float x) { return x * scale; });
  });
  if (architecture_.positions != model::PositionKind::kLearned) return;
  for (const Segment& segment : segments) {
    for (int64_t row = 0; row < segment.rows; ++row) {
      positions_embedded_.weights.read_row(segment.position + row, normed_.data());
      table_.add(hidden_.data() + (segment.row + row) * hidden, normed_.data(), hidden);
    }
  }
}

void Decoder::forward(std::span<const int32_t> tokens, std::span<const Segment> segments, const KvCache& cache) {
  const auto rows = static_cast<int64_t>(tokens.size());
  reserve(rows);
  plan(segments);
  embed(tokens, segments);
  for (size_t i = 0; i < layers_.size(); ++i) {
    attention(segments, i, cache);
    mlp(segments, i, rows);
  }
}

void Decoder::final_states(std::span<const int64_t> rows, float* out) {
  const int64_t hidden = architecture_.hidden_size;
  for (size_t i = 0; i < rows.size(); ++i) {
    norm_row(final_norm_, hidden_.data() + rows[i] * hidden, out + static_cast<int64_t>(i) * hidden);
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
  if (architecture_.logit_softcap == 0) return;
  const auto cap = static_cast<float>(architecture_.logit_softcap);
  parallel(count, count * architecture_.vocab_size, [&](int64_t row, int) {
    float* logits = out + row * architecture_.vocab_size;
    std::transform(logits, logits + architecture_.vocab_size, logits,
                   [&](float x) { return cap * std::tanh(x / cap); });
  });
}

}  // namespace slipway::runtime
