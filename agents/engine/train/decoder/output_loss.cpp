#include "agents/engine/train/decoder/output_loss.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

namespace slipway::train {

namespace {

constexpr int64_t kStep = 24;     // rows
constexpr int64_t kPadding = 32;  // columns

// Most rows whose logits exist at once: the more, the seldomer the weight is read and its gradient gone over. On a CPU
// 50 MiB of them.
int64_t most_rows(const at::Tensor& hidden, int64_t vocabulary) {
  const int64_t bytes = int64_t{hidden.is_cpu() ? 52 : 512} << 20;
  return std::clamp<int64_t>(bytes / 4 / vocabulary / kStep * kStep, kStep, 4096);
}

// In even blocks.
int64_t block_rows(int64_t most, int64_t rows) {
  const int64_t blocks = std::max<int64_t>((rows + most - 1) / most, 1);
  return std::max(((rows + blocks - 1) / blocks + kStep - 1) / kStep * kStep, kStep);
}

// [rows, vocabulary] twice in one place: logits in f32, and their gradients in the compute type. Rows do not begin at
// the same place of a page: in a cache, which finds its lines by that, a product's rows would drive each other out.
struct Logits {
  at::Tensor values, gradients;
};

Logits logits_in(at::Tensor& scratch, int64_t rows, int64_t vocabulary, const at::Tensor& hidden, at::ScalarType type) {
  if (!scratch.defined() || scratch.size(0) < rows || scratch.size(1) != vocabulary + kPadding) {
    scratch = at::empty({rows, vocabulary + kPadding}, hidden.options().dtype(at::kFloat));
  }
  return {scratch.narrow(1, 0, vocabulary), scratch.view(type).narrow(1, 0, vocabulary)};
}

struct Head {
  const Compute& compute;
  const ProductWeight& weight;
  double softcap = 0;
  at::Tensor& scratch;
};

// Some rows, and where there is a gradient to compute the weights of their targets and their logits' gradients.
struct Rows {
  at::Tensor hidden, targets, result, weights, dlogits;
};

void compute_by_kernels(const Head& head, const Rows& rows, const at::Tensor& scores) {
  const int64_t size = rows.hidden.size(0), vocabulary = scores.size(1);
  output_scores(head.compute, rows.hidden, head.weight, scores);
  const bool trains = rows.dlogits.defined();
  at::parallel_for(0, size, 4, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      rows.result.data_ptr<float>()[row] = head.compute.kernels->softmax_loss(
          scores.data_ptr<float>() + row * scores.stride(0), rows.targets.data_ptr<int64_t>()[row],
          trains ? rows.weights.data_ptr<float>()[row] : 0.0F,
          trains ? rows.dlogits.select(0, row).data_ptr() : nullptr, vocabulary, static_cast<float>(head.softcap));
    }
  });
}

void compute_by_libtorch(const Head& head, const Rows& rows) {
  const int64_t size = rows.hidden.size(0);
  at::Tensor scores = at::empty({size, head.weight.rows().size(0)}, rows.hidden.options().dtype(at::kFloat));
  output_scores(head.compute, rows.hidden, head.weight, scores);
  if (head.softcap > 0) scores = scores.div(head.softcap).tanh_().mul_(head.softcap);
  at::Tensor log_probabilities = at::log_softmax(scores, -1);
  at::Tensor(rows.result).copy_(log_probabilities.gather(1, rows.targets.unsqueeze(1)).squeeze(1));
  if (!rows.dlogits.defined()) return;
  log_probabilities.exp_();
  log_probabilities.scatter_add_(1, rows.targets.unsqueeze(1), at::full({size, 1}, -1.0, log_probabilities.options()));
  log_probabilities.mul_(rows.weights.unsqueeze(1));
  if (head.softcap > 0) log_probabilities.mul_(scores.div(head.softcap).square_().neg_().add_(1.0));
  at::Tensor(rows.dlogits).copy_(log_probabilities);
}

at::Tensor compute_blocks(const Head& head, const at::Tensor& hidden, const at::Tensor& targets,
                          const at::Tensor& weights, at::Tensor* gradient, const at::Tensor& weight_gradient) {
  const int64_t count = hidden.size(0), vocabulary = head.weight.rows().size(0);
  const int64_t most = most_rows(hidden, vocabulary), block = block_rows(most, count);
  const at::Tensor result = at::empty({count}, hidden.options().dtype(at::kFloat));
  const bool by_kernels = head.compute.kernels != nullptr;
  // Our kernels put a row's gradient in the place of its logits, from its beginning on.
  const Logits logits = by_kernels ? logits_in(head.scratch, most, vocabulary, hidden, head.compute.type) : Logits{};
  if (gradient != nullptr) *gradient = at::empty_like(hidden);
  for (int64_t begin = 0; begin < count; begin += block) {
    const int64_t size = std::min(block, count - begin);
    const auto part = [&](const at::Tensor& all) { return all.defined() ? all.narrow(0, begin, size) : all; };
    Rows rows{part(hidden), part(targets), part(result), part(weights), {}};
    if (gradient != nullptr) {
      rows.dlogits = by_kernels ? logits.gradients.narrow(0, 0, size) : at::empty({size, vocabulary}, hidden.options());
    }
    if (by_kernels) {
      compute_by_kernels(head, rows, logits.values.narrow(0, 0, size));
    } else {
      compute_by_libtorch(head, rows);
    }
    if (gradient == nullptr) continue;
    output_gradient(head.compute, rows.dlogits, head.weight, part(*gradient));
    if (weight_gradient.defined()) add_outer(head.compute, weight_gradient, rows.dlogits, rows.hidden, 1.0);
  }
  return result.to(at::kCPU);
}

}  // namespace

at::Tensor target_log_probabilities(const Compute& compute, const at::Tensor& hidden, const ProductWeight& weight,
                                    const at::Tensor& targets, double softcap, at::Tensor& scratch) {
  return compute_blocks({compute, weight, softcap, scratch}, hidden, targets, {}, nullptr, {});
}

at::Tensor output_loss(const Compute& compute, const at::Tensor& hidden, const ProductWeight& weight,
                       const at::Tensor& targets, const at::Tensor& weights, double softcap, at::Tensor& gradient,
                       at::Tensor weight_gradient, at::Tensor& scratch) {
  return compute_blocks({compute, weight, softcap, scratch}, hidden, targets, weights, &gradient, weight_gradient);
}

}  // namespace slipway::train
