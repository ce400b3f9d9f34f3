#include "agents/engine/train/decoder/output_loss.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

namespace slipway::train {

namespace {

// Rows whose logits exist at once, for which the weight is read once, and rows whose logits' gradients wait for each
// other, so that the weight's gradient is gone over seldom. On a CPU 40 MiB of f32 for each; in bf16 20 for the logits
// and 26 for gradients of more rows, as even groups.
struct BlockSizes {
  int64_t logits = 0, gradients = 0;
};

BlockSizes block_sizes(const at::Tensor& hidden, int64_t vocabulary, int64_t rows) {
  constexpr int64_t kStep = 24;
  const auto fit = [&](int64_t elements) {
    return std::clamp<int64_t>(elements / vocabulary / kStep * kStep, kStep, 4096);
  };
  if (!hidden.is_cpu()) return {fit(int64_t{1} << 27), fit(int64_t{1} << 27)};
  if (hidden.scalar_type() == at::kFloat) return {fit(int64_t{10} << 20), fit(int64_t{10} << 20)};
  const int64_t most = fit(int64_t{13} << 20), groups = std::max<int64_t>((rows + most - 1) / most, 1);
  const int64_t even = ((rows + groups - 1) / groups + kStep - 1) / kStep * kStep;
  return {fit(int64_t{5} << 20), std::max(even, kStep)};
}

// [rows, columns] whose rows do not begin at the same place of a page: in a cache, which finds its lines by that, a
// product's rows would drive each other out.
at::Tensor apart(int64_t rows, int64_t columns, const at::TensorOptions& options) {
  constexpr int64_t kPadding = 32;
  return at::empty({rows, columns + kPadding}, options).narrow(1, 0, columns);
}

struct Head {
  const Compute& compute;
  const ProductWeight& weight;
  double softcap = 0;
};

// Some rows, and where there is a gradient to compute the weights of their targets and their logits' gradients.
struct Rows {
  at::Tensor hidden, targets, result, weights, dlogits;
};

void compute_by_kernels(const Head& head, const Rows& rows, const at::Tensor& logits) {
  const int64_t size = rows.hidden.size(0), vocabulary = logits.size(1);
  const at::Tensor scores = logits.narrow(0, 0, size);
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
  const BlockSizes sizes = block_sizes(hidden, vocabulary, count);
  const at::Tensor result = at::empty({count}, hidden.options().dtype(at::kFloat));
  const auto buffer = [&](int64_t most, at::ScalarType type) {
    return apart(std::min(most, count), vocabulary, hidden.options().dtype(type));
  };
  at::Tensor logits, dlogits;
  if (head.compute.kernels != nullptr) logits = buffer(sizes.logits, at::kFloat);
  if (gradient != nullptr) {
    *gradient = at::empty_like(hidden);
    dlogits = buffer(sizes.gradients, head.compute.type);
  }
  for (int64_t group = 0; group < count; group += sizes.gradients) {
    const int64_t end = std::min(group + sizes.gradients, count);
    for (int64_t begin = group; begin < end; begin += sizes.logits) {
      const int64_t size = std::min(sizes.logits, end - begin);
      const auto part = [&](const at::Tensor& all, int64_t from) {
        return all.defined() ? all.narrow(0, from, size) : all;
      };
      const Rows rows{part(hidden, begin), part(targets, begin), part(result, begin), part(weights, begin),
                      part(dlogits, begin - group)};
      if (head.compute.kernels != nullptr) {
        compute_by_kernels(head, rows, logits);
      } else {
        compute_by_libtorch(head, rows);
      }
    }
    if (gradient == nullptr) continue;
    const at::Tensor dscores = dlogits.narrow(0, 0, end - group), inputs = hidden.narrow(0, group, end - group);
    output_gradient(head.compute, dscores, head.weight, gradient->narrow(0, group, end - group));
    if (weight_gradient.defined()) add_outer(head.compute, weight_gradient, dscores, inputs, 1.0);
  }
  return result.to(at::kCPU);
}

}  // namespace

at::Tensor target_log_probabilities(const Compute& compute, const at::Tensor& hidden, const ProductWeight& weight,
                                    const at::Tensor& targets, double softcap) {
  return compute_blocks({compute, weight, softcap}, hidden, targets, {}, nullptr, {});
}

at::Tensor output_loss(const Compute& compute, const at::Tensor& hidden, const ProductWeight& weight,
                       const at::Tensor& targets, const at::Tensor& weights, double softcap, at::Tensor& gradient,
                       at::Tensor weight_gradient) {
  return compute_blocks({compute, weight, softcap}, hidden, targets, weights, &gradient, weight_gradient);
}

}  // namespace slipway::train
