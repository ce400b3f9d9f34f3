#include "agents/engine/train/decoder/score_head.h"

#include <ATen/ATen.h>

namespace slipway::train {

ScoreHead::ScoreHead(const std::string& name, int64_t width, Parameters& parameters)
    : weight_(parameters.add({name, {1, width}, true, true, 1.0, 0, 0})) {}

at::Tensor ScoreHead::forward(const Parameters& parameters, const at::Tensor& hidden) const {
  return hidden.to(at::kFloat).mv(parameters.value(weight_).view(-1)).to(at::kCPU);
}

at::Tensor ScoreHead::backward(const at::Tensor& hidden, const at::Tensor& slopes, Parameters& parameters) const {
  const at::Tensor column = slopes.to(hidden.device()).unsqueeze(1);
  parameters.gradient(weight_).addmm_(column.t(), hidden.to(at::kFloat));
  return column.mm(parameters.value(weight_)).to(hidden.scalar_type());
}

}  // namespace slipway::train
