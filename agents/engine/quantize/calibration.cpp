#include "agents/engine/quantize/calibration.h"

#include <algorithm>
#include <memory>

#include "agents/engine/kernels/kernels.h"
#include "agents/engine/model/decoder_tensors.h"
#include "agents/engine/quantize/gptq.h"
#include "agents/engine/runtime/decoder.h"
#include "agents/engine/runtime/kv_cache.h"

namespace slipway::quantize {
namespace {

using runtime::Module;

constexpr int64_t kRowsAtOnce = 1024;  // tokens that go through a layer together
constexpr kernels::WeightFormat kFormat = kernels::WeightFormat::kBF16;

// Which modules read the same, and what the decoder calls it.
struct Group {
  Module reads;
  std::vector<std::pair<Module, model::Role>> modules;
};

std::vector<Group> groups_of(const model::Architecture& architecture) {
  std::vector<Group> groups = {{Module::kQuery,
                                {{Module::kQuery, model::Role::kQuery},
                                 {Module::kKey, model::Role::kKey},
                                 {Module::kValue, model::Role::kValue}}},
                               {Module::kOutput, {{Module::kOutput, model::Role::kAttentionOutput}}},
                               {Module::kUp, {{Module::kUp, model::Role::kUp}}},
                               {Module::kDown, {{Module::kDown, model::Role::kDown}}}};
  if (architecture.gated_mlp) groups[2].modules.emplace_back(Module::kGate, model::Role::kGate);
  return groups;
}

// Σ x xᵀ, its lower half.
class Sums {
 public:
  Sums(int64_t width, runtime::ThreadPool& pool, const kernels::Table& table)
      : width_(width), pool_(pool), table_(table), sums_(static_cast<size_t>(width * width)) {}

  void add(const float* x, int64_t stride, int64_t rows) {
    turned_.resize(static_cast<size_t>(width_ * rows));
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t i = 0; i < width_; ++i) turned_[static_cast<size_t>(i * rows + row)] = x[row * stride + i];
    }
    constexpr int64_t kColumns = 64;
    pool_.run((width_ + kColumns - 1) / kColumns, [&](int64_t task, int) {
      kernels::MatmulCall call;
      call.begin = task * kColumns;
      call.end = std::min(width_, call.begin + kColumns);
      call.x = turned_.data() + call.begin * rows;
      call.x_stride = rows * static_cast<int64_t>(sizeof(float));
      call.rows = width_ - call.begin;
      call.weights = turned_.data();
      call.depth = rows;
      call.y = sums_.data() + call.begin * width_;
      call.y_stride = width_;
      call.accumulate = true;
      table_.matmul(call);
    });
  }
  std::vector<float> take() { return std::move(sums_); }

 private:
  int64_t width_;
  runtime::ThreadPool& pool_;
  const kernels::Table& table_;
  std::vector<float> sums_, turned_;
};

// Rows of calibration that go through the decoder together, and their hidden states between two layers.
struct Batch {
  std::vector<int32_t> tokens;
  std::vector<runtime::Segment> segments;
  std::vector<float> hidden;
};

class Calibration {
 public:
  Calibration(const std::filesystem::path& model, const model::Architecture& architecture,
              const CalibrationOptions& options, runtime::ThreadPool& pool)
      : architecture_(architecture),
        options_(options),
        pool_(pool),
        table_(*kernels::table(kernels::best_level())),
        weights_(model::open_decoder_weights(model, architecture)),
        decoder_(model, architecture, kFormat, longest(options), pool, table_) {
    make_batches();
  }

  std::vector<RoundedLayer> run() {
    std::vector<RoundedLayer> layers;
    for (int64_t layer = 0; layer < architecture_.num_hidden_layers && !*options_.stop; ++layer) {
      std::vector<Group> groups = groups_of(architecture_);
      auto sums = sums_of(static_cast<size_t>(layer), groups);
      if (*options_.stop) break;
      RoundedLayer rounded;
      for (const Group& group : groups) round_group(layer, group, *sums[static_cast<size_t>(group.reads)], rounded);
      layers.push_back(std::move(rounded));
      pass(static_cast<size_t>(layer), true);
      options_.on_layer(layer + 1);
    }
    return layers;
  }

 private:
  using LayerSums = std::array<std::unique_ptr<Sums>, runtime::kModules>;

  static int64_t longest(const CalibrationOptions& options) {
    size_t most = 1;
    for (const auto& row : *options.rows) most = std::max(most, row.size());
    return static_cast<int64_t>(most);
  }

  void make_batches() {
    int64_t most_pages = 0;
    for (const auto& row : *options_.rows) {
      if (batches_.empty() || static_cast<int64_t>(batches_.back().tokens.size() + row.size()) > kRowsAtOnce) {
        batches_.emplace_back();
      }
      Batch& batch = batches_.back();
      runtime::Segment segment;
      segment.row = static_cast<int64_t>(batch.tokens.size());
      segment.rows = static_cast<int64_t>(row.size());
      batch.segments.push_back(segment);
      batch.tokens.insert(batch.tokens.end(), row.begin(), row.end());
      int64_t pages = 0;
      for (const auto& one : batch.segments) pages += runtime::KvCache::pages_for(one.rows);
      most_pages = std::max(most_pages, pages);
    }
    cache_ = std::make_unique<runtime::KvCache>(architecture_.num_hidden_layers, architecture_.num_key_value_heads,
                                                architecture_.head_dim, most_pages, kernels::CacheFormat::kBF16);
    pages_.resize(static_cast<size_t>(most_pages));
    for (size_t i = 0; i < pages_.size(); ++i) pages_[i] = static_cast<int32_t>(i);
    for (Batch& batch : batches_) {
      const int32_t* next = pages_.data();
      for (runtime::Segment& segment : batch.segments) {
        segment.pages = next;
        next += runtime::KvCache::pages_for(segment.rows);
      }
      decoder_.begin(batch.tokens, batch.segments);
      const auto hidden = decoder_.hidden(static_cast<int64_t>(batch.tokens.size()));
      batch.hidden.assign(hidden.begin(), hidden.end());
    }
  }

  // All batches through one layer, whose results they keep if `keep`.
  void pass(size_t layer, bool keep) {
    for (Batch& batch : batches_) {
      if (*options_.stop) return;
      decoder_.begin(batch.tokens, batch.segments);
      const auto hidden = decoder_.hidden(static_cast<int64_t>(batch.tokens.size()));
      std::copy(batch.hidden.begin(), batch.hidden.end(), hidden.begin());
      decoder_.run_layer(layer, batch.segments, *cache_);
      if (keep) std::copy(hidden.begin(), hidden.end(), batch.hidden.begin());
    }
  }

  LayerSums sums_of(size_t layer, const std::vector<Group>& groups) {
    LayerSums sums;
    for (const Group& group : groups) {
      const auto at = static_cast<size_t>(group.reads);
      sums[at] = std::make_unique<Sums>(decoder_.weights(layer, group.reads).columns(), pool_, table_);
    }
    decoder_.observe([&](Module module, const float* x, int64_t stride, int64_t rows) {
      sums[static_cast<size_t>(module)]->add(x, stride, rows);
    });
    pass(layer, false);
    decoder_.observe({});
    return sums;
  }

  void round_group(int64_t layer, const Group& group, Sums& sums, RoundedLayer& rounded) {
    const int64_t width = decoder_.weights(static_cast<size_t>(layer), group.reads).columns();
    const Importance importance(sums.take(), width, pool_);
    for (const auto& [module, role] : group.modules) {
      runtime::Matrix& kept = decoder_.weights(static_cast<size_t>(layer), module);
      std::vector<float> values(static_cast<size_t>(kept.rows() * width));
      weights_->read_f32(model::DecoderTensor{role, layer, false, {}}.name(), values);
      runtime::Matrix& out = rounded[static_cast<size_t>(module)];
      out = runtime::Matrix(kept.rows(), width, kernels::WeightFormat::kInt4);
      round_with(importance, values, out, pool_);
      // Of a new matrix: what is on a grid may not fit the form that what was read has.
      kept = runtime::Matrix(kept.rows(), width, kFormat);
      pool_.run(kept.panels(), [&](int64_t panel, int) {
        const int64_t first = panel * kernels::kPanel, count = std::min(kernels::kPanel, kept.rows() - first);
        kept.set_panel(
            panel, std::span(values).subspan(static_cast<size_t>(first * width), static_cast<size_t>(count * width)),
            table_);
      });
    }
  }

  const model::Architecture& architecture_;
  const CalibrationOptions& options_;
  runtime::ThreadPool& pool_;
  const kernels::Table& table_;
  std::unique_ptr<const model::Weights> weights_;
  runtime::Decoder decoder_;
  std::vector<Batch> batches_;
  std::unique_ptr<runtime::KvCache> cache_;
  std::vector<int32_t> pages_;
};

}  // namespace

std::vector<RoundedLayer> calibrate(const std::filesystem::path& model, const model::Architecture& architecture,
                                    const CalibrationOptions& options, runtime::ThreadPool& pool) {
  return Calibration(model, architecture, options, pool).run();
}

}  // namespace slipway::quantize
