// Any text as the spec of any engine is accepted or refused with INVALID_SPEC, never anything else.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "agents/engine/spec/schema.h"
#include "backend/base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  constexpr std::string_view kKinds[] = {"prep", "train", "eval", "serve"};
  try {
    slipway::spec::parse_spec(kKinds[data[0] % 4], {reinterpret_cast<const char*>(data + 1), size - 1});
  } catch (const slipway::base::Error& error) {
    if (error.code() != slipway::base::kInvalidSpec) std::abort();
  }
  return 0;
}
