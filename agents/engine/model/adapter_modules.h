// The linear layers that adapters may change, under the names that the family's files have for them: one layer there
// may hold several of the decoder's weights (Phi-3's qkv_proj, GPT-2's c_attn). Used by train/.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agents/engine/model/architecture.h"

namespace slipway::model {

struct AdapterModule {
  std::string name;   // transformer.h.0.attn.c_attn
  std::string inner;  // what follows the layer's number: attn.c_attn
  int64_t layer = 0;
  std::vector<std::string> weights;  // the decoder's, in its order: model.layers.0.self_attn.q_proj, …
  int64_t in_features = 0, out_features = 0;
  bool transposed = false;  // stored as [in, out]
};

// All of them, layer by layer.
std::vector<AdapterModule> adapter_modules(const Architecture& architecture);

// Whether PEFT's target_modules has `module` changed by `target`: it is the name, or what follows a dot in it.
bool is_target(const std::string& target, const std::string& module);

// `names` as the files' own names for PEFT's target_modules. They may be the decoder's, too: q_proj, k_proj, v_proj,
// o_proj, gate_proj, up_proj, down_proj, of which those that one layer of the files holds must come together; a gate
// that the family does not have is left out. Throws base::Error INVALID_SPEC.
std::vector<std::string> adapter_targets(const Architecture& architecture, const std::vector<std::string>& names);

}  // namespace slipway::model
