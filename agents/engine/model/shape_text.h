// How messages show a tensor's shape.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace slipway::model {

// 4 × 8
inline std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t size : shape) text += (text.empty() ? "" : " × ") + std::to_string(size);
  return text;
}

}  // namespace slipway::model
