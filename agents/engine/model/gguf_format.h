// Numbers of the GGUF format that reader and writer share.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstdint>

namespace slipway::model {

// Types of metadata values.
enum GgufType : uint32_t {
  kUint8 = 0,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64,
};

// Where data begin, unless general.alignment says otherwise.
inline constexpr uint64_t kGgufAlignment = 32;

}  // namespace slipway::model
