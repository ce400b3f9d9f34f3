// Any bytes as a GGUF file: they are refused with a base::Error, or everything in them can be read.
#include <cstddef>
#include <cstdint>
#include <span>

#include "agents/engine/model/dequantize.h"
#include "agents/engine/model/gguf.h"
#include "agents/engine/model/gguf_names.h"
#include "backend/base/error.h"

namespace {

using slipway::base::Error;
using slipway::model::GgufFile;

template <typename Read>
void attempt(const Read& read) {
  try {
    read();
  } catch (const Error&) {
  }
}

void read_all(const GgufFile& file) {
  for (const auto key : file.keys()) {
    attempt([&] { (void)file.find_string(key); });
    attempt([&] { (void)file.find_int(key); });
    attempt([&] { (void)file.find_float(key); });
    attempt([&] { (void)file.find_bool(key); });
    attempt([&] { (void)file.get_strings(key); });
    attempt([&] { (void)file.get_ints(key); });
    attempt([&] { (void)file.get_floats(key); });
  }
  for (const auto& tensor : file.tensors()) {
    (void)slipway::model::decoder_name(tensor.name);
    size_t elements = 1;
    for (const int64_t size : tensor.dimensions) elements *= static_cast<size_t>(size);
    std::vector<float> values(elements);
    attempt([&] { slipway::model::dequantize(tensor.dtype, tensor.data, values); });
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  attempt([&] { read_all(GgufFile(std::as_bytes(std::span(data, size)), "fuzz")); });
  return 0;
}
