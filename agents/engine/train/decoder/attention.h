// Causal attention of documents laid end to end: each token sees its own document alone. Used by decoder_layer.cpp.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "agents/engine/train/decoder/compute.h"

namespace slipway::train {

struct AttentionOptions {
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  double scale = 1.0;
  double softcap = 0;  // 0: none; else scores become softcap · tanh(score / softcap)
  int64_t window = 0;  // 0: none; else positions that a token sees, its own included
};

// One document's attention, kept with its graph: the one place where autograd is used, so that the fused kernel and its
// gradient are whatever the device offers.
struct DocumentAttention {
  at::Tensor query, key, value, output;
};

struct AttentionMemory {
  at::Tensor qkv, attended;                  // with kernels of our own
  at::Tensor log_sum_exp;                    // likewise: f32, document after document [heads, length]
  std::vector<DocumentAttention> documents;  // without
};

// qkv [n, (heads + 2 · kv_heads) · head_dim], rotated -> [n, heads · head_dim], in `attended` where that is defined.
// document_starts ends with n. `memory` is filled when not null.
at::Tensor attend(const Compute& compute, const AttentionOptions& options, const at::Tensor& qkv,
                  const std::vector<int64_t>& document_starts, AttentionMemory* memory, at::Tensor attended = {});

// The gradient of qkv; empties `memory`.
at::Tensor attend_backward(const Compute& compute, const AttentionOptions& options, const at::Tensor& dattended,
                           const std::vector<int64_t>& document_starts, AttentionMemory& memory);

}  // namespace slipway::train
