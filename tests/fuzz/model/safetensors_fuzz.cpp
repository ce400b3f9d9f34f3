// Any bytes as a safetensors file, and as a config.json: they are refused with a base::Error, or can be read.
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>

#include "agents/engine/model/architecture.h"
#include "agents/engine/model/dequantize.h"
#include "agents/engine/model/safetensors.h"
#include "backend/base/error.h"

using namespace slipway;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    for (const auto& tensor : model::parse_safetensors(std::as_bytes(std::span(data, size)), "fuzz")) {
      std::vector<float> values(static_cast<size_t>(tensor.elements()));
      model::dequantize(tensor.dtype, tensor.data, values);
    }
  } catch (const base::Error&) {
  }
  try {
    const auto config = nlohmann::json::parse(data, data + size, nullptr, false);
    if (!config.is_discarded()) model::architecture_from_config(config, "fuzz");
  } catch (const base::Error&) {
  }
  return 0;
}
