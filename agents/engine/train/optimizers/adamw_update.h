// AdamW's update of neighbouring parameters in main memory: one pass over values, gradients and moments, where
// libtorch's operations would make nine. Used by optimizer.cpp.
#pragma once

#include <cstdint>

namespace slipway::train {

// f32 numbers of torch.optim.AdamW's definition at one step, t = 1, 2, …
struct AdamWNumbers {
  float kept = 1;          // 1 - learning rate · weight decay
  float first_weight = 0;  // 1 - beta1
  float beta2 = 0;
  float second_weight = 0;    // 1 - beta2
  float root_correction = 1;  // √(1 - beta2^t)
  float epsilon = 0;
  float rate = 0;  // learning rate / (1 - beta1^t)
};

// values, first and second (exp_avg and exp_avg_sq), `count` each, are updated. They do not overlap. Any thread.
void adamw_update(const AdamWNumbers& numbers, const float* gradients, float* values, float* first, float* second,
                  int64_t count);

}  // namespace slipway::train
