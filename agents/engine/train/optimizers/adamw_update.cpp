#include "agents/engine/train/optimizers/adamw_update.h"

#include <cmath>

namespace slipway::train {

void adamw_update(const AdamWNumbers& numbers, const float* __restrict gradients, float* __restrict values,
                  float* __restrict first, float* __restrict second, int64_t count) {
  const AdamWNumbers n = numbers;
  for (int64_t i = 0; i < count; ++i) {
    const float gradient = gradients[i];
    const float m = first[i] + n.first_weight * (gradient - first[i]);
    const float v = second[i] * n.beta2 + n.second_weight * gradient * gradient;
    first[i] = m;
    second[i] = v;
    values[i] = values[i] * n.kept - n.rate * m / (std::sqrt(v) / n.root_correction + n.epsilon);
  }
}

}  // namespace slipway::train
