// Any bytes as a tokenizer.json, then used to encode and decode: only base::Error may come out.
#include <cstdint>
#include <string>

#include "backend/base/error.h"
#include "tests/fuzz/text/exercise.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace slipway::text;
  try {
    exercise(parse_tokenizer_json(std::string(reinterpret_cast<const char*>(data), size), "fuzz"));
  } catch (const slipway::base::Error&) {
  }
  return 0;
}
