#include "agents/engine/runtime/decoder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

namespace slipway::runtime {

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
    for (const auto format : {format_, embeddings_.weights.format()}) {
      packed = std::max(packed, kernels::activation_bytes(format, width));
    }
  }
  packed_ = Pages(static_cast<size_t>(rows * packed));
  packed_inner_ = Pages(static_cast<size_t>(rows * kernels::activation_bytes(format_, inner)));
  reserve_strips(rows);
  reserved_rows_ = rows;
}

void Decoder::embed(std::span<const int32_t> tokens, std::span<const Segment> segments) {
  const int64_t hidden = architecture_.hidden_size;
  const auto rows = static_cast<int64_t>(tokens.size());
  const auto scale = static_cast<float>(architecture_.embedding_scale);
  parallel(rows, 4 * rows * hidden, [&](int64_t row, int) {
    float* out = hidden_.data() + row * hidden;
    const int32_t token = tokens[static_cast<size_t>(row)];
    if (token < 0) return;
    embeddings_.weights.read_row(token, out);
    if (scale != 1) std::transform(out, out + hidden, out, [&](float x) { return x * scale; });
  });
  for (const Segment& segment : segments) {
    for (int64_t row = segment.row; row < segment.row + segment.rows; ++row) {
      const int32_t token = tokens[static_cast<size_t>(row)];
      if (token >= 0) break;  // they come first
      std::copy_n(segment.virtual_tokens - (token + 1) * hidden, hidden, hidden_.data() + row * hidden);
    }
  }
  if (architecture_.positions != model::PositionKind::kLearned) return;
  for (const Segment& segment : segments) {
    for (int64_t row = 0; row < segment.rows; ++row) {
      positions_embedded_.weights.read_row(segment.position + row, normed_.data());
      table_.add(hidden_.data() + (segment.row + row) * hidden, normed_.data(), hidden);
    }
  }
}

void Decoder::begin(std::span<const int32_t> tokens, std::span<const Segment> segments) {
  reserve(static_cast<int64_t>(tokens.size()));
  plan(segments);
  embed(tokens, segments);
}

void Decoder::run_layer(size_t index, std::span<const Segment> segments, const KvCache& cache) {
  attention(segments, index, cache);
  mlp(segments, index, segments.back().row + segments.back().rows);
}

void Decoder::forward(std::span<const int32_t> tokens, std::span<const Segment> segments, const KvCache& cache) {
  begin(tokens, segments);
  for (size_t i = 0; i < layers_.size(); ++i) run_layer(i, segments, cache);
}

std::span<float> Decoder::hidden(int64_t rows) {
  return std::span(hidden_).first(static_cast<size_t>(rows * architecture_.hidden_size));
}

Matrix& Decoder::weights(size_t layer, Module module) {
  Layer& of = layers_[layer];
  switch (module) {
    case Module::kQuery:
      return of.query.weights;
    case Module::kKey:
      return of.key.weights;
    case Module::kValue:
      return of.value.weights;
    case Module::kOutput:
      return of.output.weights;
    case Module::kGate:
      return of.gate.weights;
    case Module::kUp:
      return of.up.weights;
    case Module::kDown:
      break;
  }
  return of.down.weights;
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
