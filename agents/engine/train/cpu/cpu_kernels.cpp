#include "agents/engine/train/cpu/cpu_kernels.h"

namespace slipway::train {

const CpuKernels* cpu_kernels_f32() {
  static const bool kFits = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return kFits ? &detail::kAvx512F32 : nullptr;
}

const CpuKernels* cpu_kernels_bf16() {
  static const bool kFits = cpu_kernels_f32() != nullptr && __builtin_cpu_supports("avx512bf16");
  return kFits ? &detail::kAvx512Bf16 : nullptr;
}

bool own_products_are_faster() { return __builtin_cpu_is("intel") == 0; }

}  // namespace slipway::train
