// The MLP half of a layer.
#include <algorithm>
#include <array>
#include <cmath>

#include "agents/engine/runtime/decoder.h"

namespace slipway::runtime {
namespace {

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

}  // namespace

// Memory for the strips of all numbers of rows up to this one.
void Decoder::reserve_strips(int64_t rows) {
  int64_t strip = 0;
  for (int64_t count = 1; count <= rows; ++count) {
    strip = std::max(strip,
                     2 * count * strip_stride(strip_columns(architecture_.intermediate_size, count, pool_.threads())));
  }
  for (Pages& pages : strips_) pages = Pages(static_cast<size_t>(strip) * sizeof(float));
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
  pool_.expect(layer.up.after);
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
  const bool plain = format_ == kernels::WeightFormat::kF32 || observer_ ||
                     std::any_of(std::begin(kInnerModules), std::end(kInnerModules),
                                 [&](Module module) { return adapted(segments, index, module); });
  const Input input = normalize(hidden_.data(), layer.mlp_norm, rows, format_);
  if (observer_) observer_(Module::kUp, input.x, input.stride, rows);
  const Input activated = plain ? inner_plain(segments, index, input, rows) : inner_packed(layer, input, rows);
  if (observer_) observer_(Module::kDown, activated.x, activated.stride, rows);
  const bool apart = architecture_.output_norms || adapted(segments, index, Module::kDown);
  float* out = apart ? branch_.data() : hidden_.data();
  // With a parallel residual, attention's result waited until the MLP had read what attention read.
  if (architecture_.parallel_residual) add_branch({}, rows);
  multiply(activated, rows, std::array<Product, 1>{{{&layer.down, out, hidden, !apart}}});
  if (plain) add_lora(segments, index, Module::kDown, layer.down, activated.x, activated.stride, out, hidden);
  if (apart) add_branch(layer.mlp_output_norm, rows);
}

}  // namespace slipway::runtime
