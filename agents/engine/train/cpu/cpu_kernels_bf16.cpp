// The CPU kernels for bf16 on AVX-512 with AVX512_BF16. Compiled for those instructions; called only where the CPU has
// them.
#include "agents/engine/train/cpu/cpu_attention.h"
#include "agents/engine/train/cpu/cpu_product.h"
#include "agents/engine/train/cpu/cpu_small_ops.h"

namespace slipway::train::detail {

const CpuKernels kAvx512Bf16 = {pack_transposed<Bf16>,
                                pack_rows<Bf16>,
                                pack_left<Bf16>,
                                multiply<Bf16>,
                                nullptr,
                                attention_forward<Bf16>,
                                attention_backward<Bf16>,
                                rms_norm<Bf16>,
                                rms_norm_backward<Bf16>,
                                rotate<Bf16>,
                                gate<Bf16>,
                                gate_backward<Bf16>,
                                narrow<Bf16>,
                                softmax_loss<Bf16>};

}  // namespace slipway::train::detail
