// Norms, rotation, gated activations and the softmax loss for one element type, each in one pass over its data.
// Included by the AVX-512 kernels' own files alone.
#pragma once

#include <cmath>

#include "agents/engine/train/cpu/cpu_element.h"
#include "agents/engine/train/cpu/cpu_kernels.h"

namespace slipway::train {
namespace {

template <typename T>
void rms_norm(const float* x, const float* weight, float epsilon, void* y, float* inverse_rms, int64_t rows,
              int64_t width) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* const in = x + row * width;
    if (epsilon >= 0) {  // below 0: inverse_rms is given
      __m512 sum = _mm512_setzero_ps();
      for (int64_t i = 0; i < width; i += 16) {
        const __m512 v = _mm512_maskz_loadu_ps(tail_mask(width - i), in + i);
        sum = _mm512_fmadd_ps(v, v, sum);
      }
      inverse_rms[row] = 1.0F / std::sqrt(_mm512_reduce_add_ps(sum) / static_cast<float>(width) + epsilon);
    }
    const __m512 factor = _mm512_set1_ps(inverse_rms[row]);
    auto* const out = static_cast<typename T::Storage*>(y) + row * width;
    for (int64_t i = 0; i < width; i += 16) {
      const __mmask16 mask = tail_mask(width - i);
      const __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, in + i), factor);
      T::store(out + i, _mm512_mul_ps(v, _mm512_maskz_loadu_ps(mask, weight + i)), mask);
    }
  }
}

template <typename T>
void rms_norm_backward(const void* dy, const float* x, const float* weight, const float* inverse_rms, float* dx,
                       float* weight_gradient, int64_t rows, int64_t width) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* const in = x + row * width;
    const auto* const upper = static_cast<const typename T::Storage*>(dy) + row * width;
    const __m512 factor = _mm512_set1_ps(inverse_rms[row]);
    __m512 sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < width; i += 16) {
      const __mmask16 mask = tail_mask(width - i);
      const __m512 normalized = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, in + i), factor);
      const __m512 d = T::load(upper + i, mask);
      sum = _mm512_fmadd_ps(_mm512_mul_ps(d, _mm512_maskz_loadu_ps(mask, weight + i)), normalized, sum);
      if (weight_gradient != nullptr) {
        const __m512 old = _mm512_maskz_loadu_ps(mask, weight_gradient + i);
        _mm512_mask_storeu_ps(weight_gradient + i, mask, _mm512_fmadd_ps(d, normalized, old));
      }
    }
    const __m512 projection = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / static_cast<float>(width));
    float* const out = dx + row * width;
    for (int64_t i = 0; i < width; i += 16) {
      const __mmask16 mask = tail_mask(width - i);
      const __m512 normalized = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, in + i), factor);
      const __m512 scaled = _mm512_mul_ps(T::load(upper + i, mask), _mm512_maskz_loadu_ps(mask, weight + i));
      const __m512 d = _mm512_fnmadd_ps(normalized, projection, scaled);
      _mm512_mask_storeu_ps(out + i, mask, _mm512_fmadd_ps(d, factor, _mm512_maskz_loadu_ps(mask, out + i)));
    }
  }
}

template <typename T>
void rotate(void* x, int64_t row_stride, int64_t heads, int64_t head_dim, int64_t half, const float* cosine,
            const float* sine, float sine_sign, int64_t rows) {
  const __m512 sign = _mm512_set1_ps(sine_sign);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t head = 0; head < heads; ++head) {
      auto* const at = static_cast<typename T::Storage*>(x) + row * row_stride + head * head_dim;
      for (int64_t i = 0; i < half; i += 16) {
        const __mmask16 mask = tail_mask(half - i);
        const __m512 c = _mm512_maskz_loadu_ps(mask, cosine + row * half + i);
        const __m512 s = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, sine + row * half + i), sign);
        const __m512 first = T::load(at + i, mask), second = T::load(at + half + i, mask);
        T::store(at + i, _mm512_fmsub_ps(first, c, _mm512_mul_ps(second, s)), mask);
        T::store(at + half + i, _mm512_fmadd_ps(second, c, _mm512_mul_ps(first, s)), mask);
      }
    }
  }
}

// The activation and its derivative.
struct Activated {
  __m512 value, slope;
};

inline Activated activate16(Gate kind, __m512 x) {
  const __m512 one = _mm512_set1_ps(1.0F);
  if (kind == Gate::kSilu) {
    const __m512 s = sigmoid16(x);
    const __m512 value = _mm512_mul_ps(x, s);
    return {value, _mm512_fmadd_ps(value, _mm512_sub_ps(one, s), s)};
  }
  // gelu by tanh: 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))
  const __m512 root = _mm512_set1_ps(0.7978845608028654F), cubic = _mm512_set1_ps(0.044715F),
               halve = _mm512_set1_ps(0.5F);
  const __m512 square = _mm512_mul_ps(x, x);
  const __m512 inner = _mm512_mul_ps(root, _mm512_mul_ps(x, _mm512_fmadd_ps(cubic, square, one)));
  const __m512 t = tanh16(inner);
  const __m512 gate = _mm512_mul_ps(halve, _mm512_add_ps(one, t));
  const __m512 dinner = _mm512_mul_ps(root, _mm512_fmadd_ps(_mm512_set1_ps(3 * 0.044715F), square, one));
  const __m512 dgate = _mm512_mul_ps(_mm512_mul_ps(halve, _mm512_fnmadd_ps(t, t, one)), dinner);
  return {_mm512_mul_ps(x, gate), _mm512_fmadd_ps(x, dgate, gate)};
}

template <typename T>
void gate(Gate kind, const void* gate_up, void* activated, int64_t rows, int64_t width) {
  for (int64_t row = 0; row < rows; ++row) {
    const auto* const in = static_cast<const typename T::Storage*>(gate_up) + row * 2 * width;
    auto* const out = static_cast<typename T::Storage*>(activated) + row * width;
    for (int64_t i = 0; i < width; i += 16) {
      const __mmask16 mask = tail_mask(width - i);
      const Activated a = activate16(kind, T::load(in + i, mask));
      T::store(out + i, _mm512_mul_ps(a.value, T::load(in + width + i, mask)), mask);
    }
  }
}

template <typename T>
void gate_backward(Gate kind, const void* gate_up, const void* dactivated, void* dgate_up, int64_t rows,
                   int64_t width) {
  for (int64_t row = 0; row < rows; ++row) {
    const auto* const in = static_cast<const typename T::Storage*>(gate_up) + row * 2 * width;
    const auto* const upper = static_cast<const typename T::Storage*>(dactivated) + row * width;
    auto* const out = static_cast<typename T::Storage*>(dgate_up) + row * 2 * width;
    for (int64_t i = 0; i < width; i += 16) {
      const __mmask16 mask = tail_mask(width - i);
      const Activated a = activate16(kind, T::load(in + i, mask));
      const __m512 up = T::load(in + width + i, mask), d = T::load(upper + i, mask);
      T::store(out + i, _mm512_mul_ps(_mm512_mul_ps(d, up), a.slope), mask);
      T::store(out + width + i, _mm512_mul_ps(d, a.value), mask);
    }
  }
}

template <typename T>
void narrow(const float* source, void* target, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) {
    const __mmask16 mask = tail_mask(count - i);
    T::store(static_cast<typename T::Storage*>(target) + i, _mm512_maskz_loadu_ps(mask, source + i), mask);
  }
}

template <typename T>
float softmax_loss(float* logits, int64_t target, float weight_of_target, void* gradient, int64_t width, float cap) {
  const __m512 high = _mm512_set1_ps(cap), inverse = _mm512_set1_ps(cap > 0 ? 1.0F / cap : 0.0F);
  __m512 largest = _mm512_set1_ps(-INFINITY);
  for (int64_t i = 0; i < width; i += 16) {
    const __mmask16 mask = tail_mask(width - i);
    __m512 v = _mm512_maskz_loadu_ps(mask, logits + i);
    if (cap > 0) {
      v = _mm512_mul_ps(high, tanh16(_mm512_mul_ps(v, inverse)));
      _mm512_mask_storeu_ps(logits + i, mask, v);
    }
    largest = _mm512_mask_max_ps(largest, mask, largest, v);
  }
  const float top = _mm512_reduce_max_ps(largest);
  const __m512 shift = _mm512_set1_ps(top);
  double total = 0;  // a vocabulary is long: sums of 4,096 are added up in f64
  for (int64_t begin = 0; begin < width; begin += 4096) {
    const int64_t end = begin + 4096 < width ? begin + 4096 : width;
    __m512 sum = _mm512_setzero_ps();
    for (int64_t i = begin; i < end; i += 16) {
      const __mmask16 mask = tail_mask(end - i);
      sum = _mm512_mask_add_ps(sum, mask, sum, exp16(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, logits + i), shift)));
    }
    total += _mm512_reduce_add_ps(sum);
  }
  const float log_sum = top + static_cast<float>(std::log(total));
  const float target_logit = logits[target];
  if (gradient == nullptr) return target_logit - log_sum;
  auto* const out = static_cast<typename T::Storage*>(gradient);
  const __m512 norm = _mm512_set1_ps(log_sum), weight = _mm512_set1_ps(weight_of_target), one = _mm512_set1_ps(1.0F);
  for (int64_t i = 0; i < width; i += 16) {
    const __mmask16 mask = tail_mask(width - i);
    const __m512 v = _mm512_maskz_loadu_ps(mask, logits + i);
    __m512 d = exp16(_mm512_sub_ps(v, norm));
    const int64_t place = target - i;
    if (place >= 0 && place < 16) {
      d = _mm512_mask_sub_ps(d, static_cast<__mmask16>(1U << place), d, one);
    }
    d = _mm512_mul_ps(d, weight);
    const __m512 ratio = _mm512_mul_ps(v, inverse);
    if (cap > 0) d = _mm512_mul_ps(d, _mm512_fnmadd_ps(ratio, ratio, one));
    T::store(out + i, d, mask);
  }
  return target_logit - log_sum;
}

}  // namespace
}  // namespace slipway::train
