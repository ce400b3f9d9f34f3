#include "agents/engine/train/optimizers/optimizer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "agents/engine/train/decoder/decoder.h"
#include "agents/engine/train/optimizers/adamw_update.h"
#include "agents/engine/train/optimizers/dynamic_8bit.h"
#include "agents/engine/train/parallel/ranks.h"

namespace slipway::train {

namespace {

// Neighbours that are treated alike, as ranges of the flat buffers.
struct Range {
  int64_t begin = 0, end = 0;
  double lr_scale = 1;
  bool decayed = true;
};

template <typename Include>
std::vector<Range> ranges_of(const Parameters& parameters, Include include) {
  std::vector<Range> ranges;
  for (const Parameter& p : parameters.list()) {
    if (!include(p)) continue;
    if (!ranges.empty() && ranges.back().end == p.offset && ranges.back().lr_scale == p.lr_scale &&
        ranges.back().decayed == p.decayed) {
      ranges.back().end += p.size;
    } else {
      ranges.push_back({p.offset, p.offset + p.size, p.lr_scale, p.decayed});
    }
  }
  return ranges;
}

// Calls use(begin, size) for pieces of a range of `values`: on a CPU such that stay in the cache, on a GPU so large
// that starting its kernels does not count, and what they need beside it is little.
template <typename Use>
void for_each_piece(const Range& range, const at::Tensor& values, Use use) {
  const int64_t piece = int64_t{1} << (values.is_cpu() ? 17 : 24);
  for (int64_t begin = range.begin; begin < range.end; begin += piece) use(begin, std::min(piece, range.end - begin));
}

// In main memory.
void adamw_at_once(const OptimizerOptions& options, const at::Tensor& values, const at::Tensor& gradient,
                   const at::Tensor& m, const at::Tensor& v, double kept, double rate, double correction2) {
  constexpr int64_t kLeast = 1 << 15;  // for a thread
  const AdamWNumbers numbers{static_cast<float>(kept),
                             static_cast<float>(1.0 - options.beta1),
                             static_cast<float>(options.beta2),
                             static_cast<float>(1.0 - options.beta2),
                             static_cast<float>(std::sqrt(correction2)),
                             static_cast<float>(options.epsilon),
                             static_cast<float>(rate)};
  at::parallel_for(0, values.numel(), kLeast, [&](int64_t begin, int64_t end) {
    adamw_update(numbers, gradient.data_ptr<float>() + begin, values.data_ptr<float>() + begin,
                 m.data_ptr<float>() + begin, v.data_ptr<float>() + begin, end - begin);
  });
}

// The AdamW update of some neighbours, given their moments, which are updated.
void adamw(const OptimizerOptions& options, at::Tensor values, const at::Tensor& gradient, at::Tensor m, at::Tensor v,
           double learning_rate, bool decayed, int64_t step) {
  const double correction1 = 1.0 - std::pow(options.beta1, static_cast<double>(step));
  const double correction2 = 1.0 - std::pow(options.beta2, static_cast<double>(step));
  const double kept = decayed ? 1.0 - learning_rate * options.weight_decay : 1.0;
  if (values.is_cpu()) {
    adamw_at_once(options, values, gradient, m, v, kept, learning_rate / correction1, correction2);
    return;
  }
  if (kept != 1.0) values.mul_(kept);
  m.lerp_(gradient, 1.0 - options.beta1);
  v.mul_(options.beta2).addcmul_(gradient, gradient, 1.0 - options.beta2);
  const at::Tensor denominator = v.sqrt().div_(std::sqrt(correction2)).add_(options.epsilon);
  values.addcdiv_(m, denominator, -learning_rate / correction1);
}

class AdamW : public Optimizer {
 public:
  template <typename Include>
  AdamW(const OptimizerOptions& options, const Parameters& parameters, Include include)
      : options_(options), ranges_(ranges_of(parameters, include)) {
    int64_t size = 0;
    for (const Range& range : ranges_) size += range.end - range.begin;
    exp_avg_ = at::zeros({size}, parameters.values.options());
    exp_avg_sq_ = at::zeros({size}, parameters.values.options());
  }

  void step(Parameters& parameters, double learning_rate, int64_t step) override {
    int64_t state_begin = 0;
    for (const Range& range : ranges_) {
      const int64_t size = range.end - range.begin;
      adamw(options_, parameters.values.narrow(0, range.begin, size), parameters.gradients.narrow(0, range.begin, size),
            exp_avg_.narrow(0, state_begin, size), exp_avg_sq_.narrow(0, state_begin, size),
            learning_rate * range.lr_scale, range.decayed, step);
      state_begin += size;
    }
  }

  std::vector<StateTensor> state() override { return {{"exp_avg", exp_avg_}, {"exp_avg_sq", exp_avg_sq_}}; }

 private:
  OptimizerOptions options_;
  std::vector<Range> ranges_;
  at::Tensor exp_avg_, exp_avg_sq_;  // flat, of the ranges alone
};

// AdamW whose moments are kept in 8 bits; small parameters, which matter most and cost least, stay in f32.
class AdamW8Bit : public Optimizer {
 public:
  AdamW8Bit(const OptimizerOptions& options, const Parameters& parameters)
      : options_(options), small_(options, parameters, [](const Parameter& p) { return p.size < kSmallest; }) {
    int64_t blocks = 0;
    for (const Parameter& p : parameters.list()) {
      if (p.size < kSmallest) continue;
      large_.push_back({p.offset, p.offset + p.size, p.lr_scale, p.decayed});
      blocks += (p.size + kBlock - 1) / kBlock;
    }
    const auto bytes = at::TensorOptions().dtype(at::kByte), floats = at::TensorOptions().dtype(at::kFloat);
    m_codes_ = at::full({blocks * kBlock}, signed_zero_code(), bytes);
    v_codes_ = at::zeros({blocks * kBlock}, bytes);
    m_scales_ = at::zeros({blocks}, floats);
    v_scales_ = at::zeros({blocks}, floats);
  }

  void step(Parameters& parameters, double learning_rate, int64_t step) override {
    small_.step(parameters, learning_rate, step);
    int64_t first_block = 0;
    for (const Range& range : large_) {
      for_each_piece(range, parameters.values, [&](int64_t begin, int64_t size) {
        const int64_t block = first_block + (begin - range.begin) / kBlock, blocks = (size + kBlock - 1) / kBlock;
        const at::Tensor m_codes = m_codes_.narrow(0, block * kBlock, blocks * kBlock);
        const at::Tensor v_codes = v_codes_.narrow(0, block * kBlock, blocks * kBlock);
        const at::Tensor m_scales = m_scales_.narrow(0, block, blocks), v_scales = v_scales_.narrow(0, block, blocks);
        const at::Tensor m = at::empty({blocks * kBlock}, at::kFloat), v = at::empty({blocks * kBlock}, at::kFloat);
        read_dynamic(true, m_codes, m_scales, m);
        read_dynamic(false, v_codes, v_scales, v);
        const at::Tensor masters = parameters.values.narrow(0, begin, size), values = masters.to(at::kCPU);
        adamw(options_, values, parameters.gradients.narrow(0, begin, size).to(at::kCPU), m.narrow(0, 0, size),
              v.narrow(0, 0, size), learning_rate * range.lr_scale, range.decayed, step);
        if (!masters.is_cpu()) masters.copy_(values);
        write_dynamic(true, m, m_codes, m_scales);
        write_dynamic(false, v, v_codes, v_scales);
      });
      first_block += (range.end - range.begin + kBlock - 1) / kBlock;
    }
  }

  std::vector<StateTensor> state() override {
    std::vector<StateTensor> all = small_.state();
    all.insert(all.end(), {{"exp_avg_codes", m_codes_},
                           {"exp_avg_scales", m_scales_},
                           {"exp_avg_sq_codes", v_codes_},
                           {"exp_avg_sq_scales", v_scales_}});
    return all;
  }

 private:
  static constexpr int64_t kSmallest = 4096;
  static constexpr int64_t kBlock = kDynamicBlock;

  OptimizerOptions options_;
  AdamW small_;
  std::vector<Range> large_;
  at::Tensor m_codes_, v_codes_, m_scales_, v_scales_;  // on the CPU
};

class Adafactor : public Optimizer {
 public:
  Adafactor(const OptimizerOptions& options, const Parameters& parameters) : options_(options) {
    for (const Parameter& p : parameters.list()) {
      const auto zeros = [&](int64_t size) { return at::zeros({size}, parameters.values.options()); };
      State state;
      if (p.shape.size() == 2) {
        state.rows = zeros(p.shape[0]);
        state.columns = zeros(p.shape[1]);
      } else {
        state.all = zeros(p.size);
      }
      states_.push_back(std::move(state));
      names_.push_back(p.name);
    }
  }

  void step(Parameters& parameters, double learning_rate, int64_t step) override {
    constexpr double kEpsilon = 1e-30, kDecayRate = -0.8, kClipThreshold = 1.0;
    const double beta2 = 1.0 - std::pow(static_cast<double>(step), kDecayRate);
    for (size_t i = 0; i < states_.size(); ++i) {
      const Parameter& p = parameters.list()[i];
      State& state = states_[i];
      const at::Tensor gradient = parameters.gradient(i);
      at::Tensor value = parameters.value(i);
      const at::Tensor squares = gradient.square().add_(kEpsilon);
      at::Tensor update;
      if (state.rows.defined()) {
        state.rows.mul_(beta2).add_(squares.mean(1), 1.0 - beta2);
        state.columns.mul_(beta2).add_(squares.mean(0), 1.0 - beta2);
        update = (state.rows / state.rows.mean()).rsqrt_().unsqueeze(1) * state.columns.rsqrt().unsqueeze(0);
        update.mul_(gradient);
      } else {
        at::Tensor all = state.all.view(p.shape);
        all.mul_(beta2).add_(squares, 1.0 - beta2);
        update = all.rsqrt().mul_(gradient);
      }
      const at::Tensor rms = at::linalg_vector_norm(update) / std::sqrt(static_cast<double>(p.size));
      const double rate = learning_rate * p.lr_scale;
      update.div_(rms.div(kClipThreshold).clamp_min_(1.0)).mul_(rate);
      if (p.decayed && options_.weight_decay != 0) value.mul_(1.0 - options_.weight_decay * rate);
      value.sub_(update);
    }
  }

  std::vector<StateTensor> state() override {
    std::vector<StateTensor> all;
    for (size_t i = 0; i < states_.size(); ++i) {
      const State& state = states_[i];
      if (state.rows.defined()) {
        all.push_back({"exp_avg_sq_row." + names_[i], state.rows});
        all.push_back({"exp_avg_sq_col." + names_[i], state.columns});
      } else {
        all.push_back({"exp_avg_sq." + names_[i], state.all});
      }
    }
    return all;
  }

 private:
  struct State {
    at::Tensor rows, columns;  // of matrices
    at::Tensor all;            // of vectors
  };
  OptimizerOptions options_;
  std::vector<State> states_;
  std::vector<std::string> names_;
};

class Lion : public Optimizer {
 public:
  Lion(const OptimizerOptions& options, const Parameters& parameters)
      : options_(options),
        ranges_(ranges_of(parameters, [](const Parameter&) { return true; })),
        exp_avg_(at::zeros_like(parameters.values)) {}

  void step(Parameters& parameters, double learning_rate, int64_t) override {
    for (const Range& range : ranges_) {
      const double rate = learning_rate * range.lr_scale;
      for_each_piece(range, parameters.values, [&](int64_t begin, int64_t size) {
        at::Tensor values = parameters.values.narrow(0, begin, size), m = exp_avg_.narrow(0, begin, size);
        const at::Tensor gradient = parameters.gradients.narrow(0, begin, size);
        if (range.decayed && options_.weight_decay != 0) values.mul_(1.0 - rate * options_.weight_decay);
        values.sub_(m.mul(options_.beta1).add_(gradient, 1.0 - options_.beta1).sign_(), rate);
        m.mul_(options_.beta2).add_(gradient, 1.0 - options_.beta2);
      });
    }
  }

  std::vector<StateTensor> state() override { return {{"exp_avg", exp_avg_}}; }

 private:
  OptimizerOptions options_;
  std::vector<Range> ranges_;
  at::Tensor exp_avg_;
};

// Newton and Schulz's quintic iteration towards the nearest orthogonal matrix, in bf16, with torch.optim.Muon's
// coefficients.
at::Tensor orthogonalized(const at::Tensor& matrix) {
  constexpr double kA = 3.4445, kB = -4.7750, kC = 2.0315, kEpsilon = 1e-7;
  constexpr int kIterations = 5;
  const bool tall = matrix.size(0) > matrix.size(1);
  at::Tensor x = matrix.to(at::kBFloat16);
  if (tall) x = x.t();
  x = x.div(x.norm().clamp_min_(kEpsilon));
  for (int i = 0; i < kIterations; ++i) {
    const at::Tensor gram = x.mm(x.t());
    const at::Tensor update = at::addmm(gram, gram, gram, kB, kC);
    x = at::addmm(x, update, x, kA);
  }
  return tall ? x.t() : x;
}

class Muon : public Optimizer {
 public:
  Muon(const OptimizerOptions& options, const Parameters& parameters)
      : options_(options), rest_(options, parameters, [](const Parameter& p) { return !is_matrix(p); }) {
    int64_t size = 0;
    for (size_t i = 0; i < parameters.list().size(); ++i) {
      if (!is_matrix(parameters.list()[i])) continue;
      matrices_.push_back(i);
      size += parameters.list()[i].size;
    }
    momentum_ = at::zeros({size}, parameters.values.options());
  }

  void step(Parameters& parameters, double learning_rate, int64_t step) override {
    constexpr double kMomentum = 0.95;
    rest_.step(parameters, learning_rate, step);
    int64_t offset = 0;
    for (const size_t i : matrices_) {
      const Parameter& p = parameters.list()[i];
      const double rate = learning_rate * p.lr_scale;
      at::Tensor buffer = momentum_.narrow(0, offset, p.size).view(p.shape), value = parameters.value(i);
      offset += p.size;
      const at::Tensor gradient = parameters.gradient(i);
      buffer.lerp_(gradient, 1.0 - kMomentum);
      const at::Tensor update = orthogonalized(gradient.lerp(buffer, kMomentum));
      const double adjusted = rate * 0.2 * std::sqrt(static_cast<double>(std::max(p.shape[0], p.shape[1])));
      if (p.decayed && options_.weight_decay != 0) value.mul_(1.0 - rate * options_.weight_decay);
      value.sub_(update.to(at::kFloat), adjusted);
    }
  }

  std::vector<StateTensor> state() override {
    std::vector<StateTensor> all = rest_.state();
    all.push_back({"momentum_buffer", momentum_});
    return all;
  }

 private:
  static bool is_matrix(const Parameter& p) { return p.shape.size() == 2 && !p.embedding; }

  OptimizerOptions options_;
  AdamW rest_;
  std::vector<size_t> matrices_;
  at::Tensor momentum_;  // flat, of the matrices
};

}  // namespace

std::vector<StateTensor> Optimizer::whole_state(Ranks& ranks, const Decoder& decoder) {
  std::vector<StateTensor> whole;
  for (const StateTensor& own : state()) {
    const at::Tensor tensor = ranks.whole(decoder, own.tensor);
    if (tensor.defined()) whole.push_back({own.name, tensor});
  }
  return whole;
}

void Optimizer::take_whole_state(const ReadState& read, Ranks& ranks, const Decoder& decoder) {
  for (const StateTensor& own : state()) {
    const int64_t elements = ranks.moves_together() ? decoder.parameters().element_count() : own.tensor.numel();
    ranks.give(decoder, read(own.name, elements, own.tensor.scalar_type()), own.tensor);
  }
}

std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options, const Parameters& parameters) {
  switch (options.type) {
    case OptimizerType::kAdamW8Bit:
      return std::make_unique<AdamW8Bit>(options, parameters);
    case OptimizerType::kAdafactor:
      return std::make_unique<Adafactor>(options, parameters);
    case OptimizerType::kLion:
      return std::make_unique<Lion>(options, parameters);
    case OptimizerType::kMuon:
      return std::make_unique<Muon>(options, parameters);
    case OptimizerType::kAdamW:
      break;
  }
  return std::make_unique<AdamW>(options, parameters, [](const Parameter&) { return true; });
}

}  // namespace slipway::train
