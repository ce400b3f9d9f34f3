// The CPU kernels for f32 on AVX-512. Compiled for those instructions; called only where the CPU has them.
#include "agents/engine/train/cpu/cpu_attention.h"
#include "agents/engine/train/cpu/cpu_halved_product.h"
#include "agents/engine/train/cpu/cpu_product.h"
#include "agents/engine/train/cpu/cpu_small_ops.h"

namespace slipway::train::detail {

const CpuKernels kAvx512F32 = {pack_transposed<F32>,
                               pack_rows<F32>,
                               pack_left<F32>,
                               multiply<F32>,
                               multiply_halved,
                               attention_forward<F32>,
                               attention_backward<F32>,
                               rms_norm<F32>,
                               rms_norm_backward<F32>,
                               rotate<F32>,
                               gate<F32>,
                               gate_backward<F32>,
                               narrow<F32>,
                               softmax_loss<F32>};

}  // namespace slipway::train::detail
