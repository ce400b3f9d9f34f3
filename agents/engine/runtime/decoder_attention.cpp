// The attention half of a layer.
#include <algorithm>
#include <array>

#include "agents/engine/runtime/decoder.h"

namespace slipway::runtime {

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
  if (observer_) observer_(Module::kQuery, input.x, input.stride, rows);
  multiply(
      input, rows,
      std::array<Product, 3>{{{&layer.query, query, width}, {&layer.key, key, width}, {&layer.value, value, width}}});
  add_lora(segments, index, Module::kQuery, layer.query, input.x, hidden, query, width);
  add_lora(segments, index, Module::kKey, layer.key, input.x, hidden, key, width);
  add_lora(segments, index, Module::kValue, layer.value, input.x, hidden, value, width);
  rotate_and_store(static_cast<int64_t>(index), cache);
  attend(static_cast<int64_t>(index), cache);
  const Input attended = pack(attention_out_.data(), queries_, rows, queries_);
  if (observer_) observer_(Module::kOutput, attended.x, attended.stride, rows);
  const bool plain = !architecture_.output_norms && !architecture_.parallel_residual;
  const bool apart = !plain || adapted(segments, index, Module::kOutput);
  float* out = apart ? branch_.data() : hidden_.data();
  multiply(attended, rows, std::array<Product, 1>{{{&layer.output, out, hidden, !apart}}});
  add_lora(segments, index, Module::kOutput, layer.output, attended.x, queries_, out, hidden);
  if (apart && !architecture_.parallel_residual) add_branch(layer.attention_output_norm, rows);
}

}  // namespace slipway::runtime
