// Any text as a workflow's file is read or refused with a status, never anything else.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "workflows/workflow.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto workflow =
      slipway::workflows::parse_workflow({reinterpret_cast<const char*>(data), size}, "fuzzed.yaml");
  if (!workflow.ok() && workflow.status().message().empty()) std::abort();
  return 0;
}
