// The safetensors file format: an 8 byte length, a JSON header, then the data. Used by weights and adapter.
// Format: https://github.com/huggingface/safetensors#format
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "agents/engine/model/weights.h"

namespace slipway::model {

// The tensors of a file that lies in `bytes`, sorted by name; their data points into it. `origin` names the file in
// errors. Throws base::Error INVALID_MODEL naming file and tensor, UNSUPPORTED for element types that no decoder here
// reads.
std::vector<TensorView> parse_safetensors(std::span<const std::byte> bytes, const std::string& origin);

}  // namespace slipway::model
