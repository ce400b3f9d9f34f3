#include "agents/engine/kernels/kernels.h"

#include "agents/engine/kernels/tables.h"

namespace slipway::kernels {
namespace {

bool machine_has(Level level) {
#if defined(__x86_64__)
  switch (level) {
    case Level::kPortable:
      return true;
    case Level::kAvx2:
      return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
    case Level::kAvx512:
      return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
             __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0;
  }
  return false;
#else
  return level == Level::kPortable;
#endif
}

}  // namespace

Level best_level() {
  if (machine_has(Level::kAvx512)) return Level::kAvx512;
  return machine_has(Level::kAvx2) ? Level::kAvx2 : Level::kPortable;
}

const Table* table(Level level) {
  if (!machine_has(level)) return nullptr;
#if defined(__x86_64__)
  if (level == Level::kAvx512) return &kAvx512Table;
  if (level == Level::kAvx2) return &kAvx2Table;
#endif
  return &kPortableTable;
}

}  // namespace slipway::kernels
