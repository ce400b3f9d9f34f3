#include "agents/engine/train/decoder/output_loss.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

namespace slipway::train {

namespace {

// Rows whose logits exist at once: the weight is read once for them. About 40 MiB of f32 on a CPU, more on a GPU.
int64_t rows_at_once(const at::Tensor& hidden, int64_t vocabulary) {
  const int64_t budget = hidden.is_cpu() ? int64_t{10} << 20 : int64_t{1} << 27;
  return std::clamp<int64_t>(budget / vocabulary / 24 * 24, 24, 4096);
}

// [rows, columns] whose rows do not begin at the same place of a page: in a cache, which finds its lines by that, a
// product's rows would drive each other out.
at::Tensor apart(int64_t rows, int64_t columns, const at::TensorOptions& options) {
  constexpr int64_t kPadding = 32;
  return at::empty({rows, columns + kPadding}, options).narrow(1, 0, columns);
}

at::Tensor compute_blocks(const Compute& compute, const at::Tensor& hidden, const ProductWeight& weight,
                          const at::Tensor& targets, const at::Tensor& weights, double softcap, at::Tensor* gradient,
                          at::Tensor weight_gradient) {
  const int64_t rows = hidden.size(0), vocabulary = weight.rows().size(0), block = rows_at_once(hidden, vocabulary);
  const at::Tensor result = at::empty({rows}, hidden.options().dtype(at::kFloat));
  if (gradient != nullptr) *gradient = at::empty_like(hidden);
  at::Tensor logits, dlogits;
  if (compute.kernels != nullptr) {
    const int64_t most = std::min(block, rows);
    logits = apart(most, vocabulary, hidden.options().dtype(at::kFloat));
    if (gradient != nullptr) dlogits = apart(most, vocabulary, hidden.options());
  }
  for (int64_t begin = 0; begin < rows; begin += block) {
    const int64_t size = std::min(block, rows - begin);
    const at::Tensor part = hidden.narrow(0, begin, size), target = targets.narrow(0, begin, size);
    at::Tensor typed;
    if (compute.kernels != nullptr) {
      const at::Tensor scores = logits.narrow(0, 0, size);
      output_scores(compute, part, weight, scores);
      if (gradient != nullptr) typed = dlogits.narrow(0, 0, size);
      at::parallel_for(0, size, 4, [&](int64_t first, int64_t last) {
        for (int64_t row = first; row < last; ++row) {
          result.data_ptr<float>()[begin + row] = compute.kernels->softmax_loss(
              scores.data_ptr<float>() + row * scores.stride(0), target.data_ptr<int64_t>()[row],
              gradient != nullptr ? weights.data_ptr<float>()[begin + row] : 0.0F,
              gradient != nullptr ? typed.select(0, row).data_ptr() : nullptr, vocabulary, static_cast<float>(softcap));
        }
      });
    } else {
      at::Tensor scores = at::empty({size, vocabulary}, hidden.options().dtype(at::kFloat));
      output_scores(compute, part, weight, scores);
      if (softcap > 0) scores = scores.div(softcap).tanh_().mul_(softcap);
      at::Tensor log_probabilities = at::log_softmax(scores, -1);
      result.narrow(0, begin, size).copy_(log_probabilities.gather(1, target.unsqueeze(1)).squeeze(1));
      if (gradient != nullptr) {
        log_probabilities.exp_();
        log_probabilities.scatter_add_(1, target.unsqueeze(1), at::full({size, 1}, -1.0, log_probabilities.options()));
        log_probabilities.mul_(weights.narrow(0, begin, size).unsqueeze(1));
        if (softcap > 0) log_probabilities.mul_(scores.div(softcap).square_().neg_().add_(1.0));
        typed = log_probabilities.to(compute.type);
      }
    }
    if (gradient == nullptr) continue;
    output_gradient(compute, typed, weight, gradient->narrow(0, begin, size));
    if (weight_gradient.defined()) add_outer(compute, weight_gradient, typed, part, 1.0);
  }
  return result.to(at::kCPU);
}

}  // namespace

at::Tensor target_log_probabilities(const Compute& compute, const at::Tensor& hidden, const ProductWeight& weight,
                                    const at::Tensor& targets, double softcap) {
  return compute_blocks(compute, hidden, weight, targets, {}, softcap, nullptr, {});
}

at::Tensor output_loss(const Compute& compute, const at::Tensor& hidden, const ProductWeight& weight,
                       const at::Tensor& targets, const at::Tensor& weights, double softcap, at::Tensor& gradient,
                       at::Tensor weight_gradient) {
  return compute_blocks(compute, hidden, weight, targets, weights, softcap, &gradient, std::move(weight_gradient));
}

}  // namespace slipway::train
