#include "agents/engine/train/decoder/tensor_ops.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <optional>
#include <utility>

namespace slipway::train {

namespace {

constexpr int64_t kRowsPerShare = 16;
// Gradients of norms are summed in blocks of so many rows, so that the sums do not depend on the number of threads.
constexpr int64_t kRowsPerSum = 128;

std::byte* row_of(const at::Tensor& tensor, int64_t row) {
  return static_cast<std::byte*>(tensor.data_ptr()) + row * tensor.stride(0) * tensor.element_size();
}

// The kernels' gate for an activation; nothing for those that libtorch computes.
std::optional<Gate> gate_of(const Compute& compute, model::Activation activation) {
  if (compute.kernels == nullptr || activation == model::Activation::kGelu) return std::nullopt;
  return activation == model::Activation::kSilu ? Gate::kSilu : Gate::kGeluTanh;
}

void normalize(const Compute& compute, const at::Tensor& x, const at::Tensor& weight, float epsilon,
               const at::Tensor& inverse_rms, const at::Tensor& y) {
  const int64_t width = x.size(1);
  at::parallel_for(0, x.size(0), kRowsPerShare, [&](int64_t begin, int64_t end) {
    compute.kernels->rms_norm(x.data_ptr<float>() + begin * width, weight.data_ptr<float>(), epsilon, row_of(y, begin),
                              inverse_rms.data_ptr<float>() + begin, end - begin, width);
  });
}

}  // namespace

at::Tensor dropout_mask(at::IntArrayRef shape, double p, uint64_t seed, at::Device device) {
  // Drawn on the CPU, so that a run gives the same adapter wherever it is computed.
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const at::Tensor mask = at::empty(shape, at::kFloat).bernoulli_(1.0 - p, generator).div_(1.0 - p);
  return mask.to(device);
}

at::Tensor narrowed(const Compute& compute, const at::Tensor& x) {
  if (compute.kernels == nullptr || compute.type == at::kFloat) return x.to(compute.type);
  const at::Tensor y = at::empty_like(x, x.options().dtype(compute.type));
  at::parallel_for(0, x.numel(), 1 << 14, [&](int64_t begin, int64_t end) {
    compute.kernels->narrow(x.data_ptr<float>() + begin,
                            static_cast<std::byte*>(y.data_ptr()) + begin * y.element_size(), end - begin);
  });
  return y;
}

at::Tensor rms_norm(const Compute& compute, const at::Tensor& x, const at::Tensor& weight, double epsilon,
                    at::Tensor& inverse_rms) {
  if (compute.kernels == nullptr) {
    inverse_rms = x.square().mean(-1, true).add_(epsilon).rsqrt_();
    return rms_norm_again(compute, x, weight, inverse_rms);
  }
  inverse_rms = at::empty({x.size(0), 1}, x.options());
  const at::Tensor y = at::empty_like(x, x.options().dtype(compute.type));
  normalize(compute, x, weight, static_cast<float>(epsilon), inverse_rms, y);
  return y;
}

at::Tensor rms_norm_again(const Compute& compute, const at::Tensor& x, const at::Tensor& weight,
                          const at::Tensor& inverse_rms) {
  if (compute.kernels == nullptr) return x.mul(inverse_rms).mul_(weight).to(compute.type);
  const at::Tensor y = at::empty_like(x, x.options().dtype(compute.type));
  normalize(compute, x, weight, -1.0F, inverse_rms, y);
  return y;
}

void rms_norm_backward(const Compute& compute, const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight,
                       const at::Tensor& inverse_rms, at::Tensor& dx, at::Tensor weight_gradient) {
  const int64_t rows = x.size(0), width = x.size(1);
  if (compute.kernels == nullptr) {
    const at::Tensor normalized = x.mul(inverse_rms);
    const at::Tensor dy32 = dy.to(at::kFloat);
    if (weight_gradient.defined()) weight_gradient.add_(dy32.mul(normalized).sum(0));
    at::Tensor scaled = dy32.mul(weight);
    const at::Tensor projection = scaled.mul(normalized).mean(-1, true);
    dx.add_(scaled.sub_(normalized * projection).mul_(inverse_rms));
    return;
  }
  const int64_t sums = (rows + kRowsPerSum - 1) / kRowsPerSum;
  const at::Tensor parts = weight_gradient.defined() ? at::zeros({sums, width}, dx.options()) : at::Tensor();
  at::parallel_for(0, sums, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t row = block * kRowsPerSum, count = std::min(kRowsPerSum, rows - row);
      compute.kernels->rms_norm_backward(row_of(dy, row), x.data_ptr<float>() + row * width, weight.data_ptr<float>(),
                                         inverse_rms.data_ptr<float>() + row, dx.data_ptr<float>() + row * width,
                                         parts.defined() ? parts.data_ptr<float>() + block * width : nullptr, count,
                                         width);
    }
  });
  if (weight_gradient.defined()) weight_gradient.add_(parts.sum(0));
}

void rotate(const Compute& compute, at::Tensor x, int64_t heads, const at::Tensor& cosine, const at::Tensor& sine,
            bool backward) {
  const int64_t half = cosine.size(1);
  if (compute.kernels != nullptr) {
    at::parallel_for(0, x.size(0), kRowsPerShare, [&](int64_t begin, int64_t end) {
      compute.kernels->rotate(row_of(x, begin), x.stride(0), heads, x.size(2), half,
                              cosine.data_ptr<float>() + begin * half, sine.data_ptr<float>() + begin * half,
                              backward ? -1.0F : 1.0F, end - begin);
    });
    return;
  }
  const at::Tensor c = cosine.unsqueeze(1), s = backward ? sine.unsqueeze(1).neg() : sine.unsqueeze(1);
  at::Tensor first = x.narrow(1, 0, heads).narrow(-1, 0, half), second = x.narrow(1, 0, heads).narrow(-1, half, half);
  const at::Tensor rotated = first.mul(c).sub_(second.mul(s));
  second.mul_(c).add_(first.mul(s));
  first.copy_(rotated);
}

at::Tensor activated(model::Activation activation, const at::Tensor& x) {
  if (activation == model::Activation::kSilu) return at::silu(x);
  return at::gelu(x, activation == model::Activation::kGelu ? "none" : "tanh");
}

at::Tensor activated_backward(model::Activation activation, const at::Tensor& dactivated, const at::Tensor& x) {
  if (activation == model::Activation::kSilu) return at::silu_backward(dactivated, x);
  return at::gelu_backward(dactivated, x, activation == model::Activation::kGelu ? "none" : "tanh");
}

at::Tensor gated(const Compute& compute, model::Activation activation, const at::Tensor& gate_up) {
  const int64_t rows = gate_up.size(0), width = gate_up.size(1) / 2;
  if (const auto kind = gate_of(compute, activation)) {
    const at::Tensor y = at::empty({rows, width}, gate_up.options());
    at::parallel_for(0, rows, kRowsPerShare, [&](int64_t begin, int64_t end) {
      compute.kernels->gate(*kind, row_of(gate_up, begin), row_of(y, begin), end - begin, width);
    });
    return y;
  }
  return activated(activation, gate_up.narrow(1, 0, width)).mul_(gate_up.narrow(1, width, width));
}

at::Tensor gated_backward(const Compute& compute, model::Activation activation, const at::Tensor& dactivated,
                          const at::Tensor& gate_up) {
  const int64_t rows = gate_up.size(0), width = gate_up.size(1) / 2;
  at::Tensor gradient = at::empty_like(gate_up);
  if (const auto kind = gate_of(compute, activation)) {
    at::parallel_for(0, rows, kRowsPerShare, [&](int64_t begin, int64_t end) {
      compute.kernels->gate_backward(*kind, row_of(gate_up, begin), row_of(dactivated, begin), row_of(gradient, begin),
                                     end - begin, width);
    });
    return gradient;
  }
  const at::Tensor gate = gate_up.narrow(1, 0, width), up = gate_up.narrow(1, width, width);
  gradient.narrow(1, 0, width).copy_(activated_backward(activation, dactivated * up, gate));
  gradient.narrow(1, width, width).copy_(activated(activation, gate).mul_(dactivated));
  return gradient;
}

}  // namespace slipway::train
