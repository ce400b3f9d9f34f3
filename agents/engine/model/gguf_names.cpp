#include "agents/engine/model/gguf_names.h"

#include <array>
#include <utility>

#include "backend/base/error.h"

namespace slipway::model {
namespace {

using Pair = std::pair<std::string_view, std::string_view>;  // GGUF's name, the decoder's

constexpr std::array<Pair, 4> kGlobal = {Pair{"token_embd", "model.embed_tokens"},
                                         {"position_embd", "model.embed_positions"},
                                         {"output_norm", "model.norm"},
                                         {"output", "lm_head"}};
constexpr std::array<Pair, 14> kLayer = {Pair{"attn_norm", "input_layernorm"},
                                         {"attn_q", "self_attn.q_proj"},
                                         {"attn_k", "self_attn.k_proj"},
                                         {"attn_v", "self_attn.v_proj"},
                                         {"attn_qkv", "self_attn.qkv_proj"},
                                         {"attn_q_norm", "self_attn.q_norm"},
                                         {"attn_k_norm", "self_attn.k_norm"},
                                         {"attn_output", "self_attn.o_proj"},
                                         {"post_attention_norm", "attention_output_norm"},
                                         {"ffn_norm", "post_attention_layernorm"},
                                         {"ffn_gate", "mlp.gate_proj"},
                                         {"ffn_up", "mlp.up_proj"},
                                         {"ffn_down", "mlp.down_proj"},
                                         {"post_ffw_norm", "mlp_output_norm"}};

}  // namespace

std::optional<std::string> decoder_name(std::string_view gguf_name) {
  const size_t dot = gguf_name.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const std::string_view kind = gguf_name.substr(dot);  // .weight or .bias
  if (kind != ".weight" && kind != ".bias") return std::nullopt;
  const std::string_view stem = gguf_name.substr(0, dot);
  for (const auto& [theirs, ours] : kGlobal) {
    if (stem == theirs) return std::string(ours) + std::string(kind);
  }
  if (!stem.starts_with("blk.")) return std::nullopt;
  const size_t end = stem.find('.', 4);
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view layer = stem.substr(4, end - 4);
  if (layer.empty() || layer.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  for (const auto& [theirs, ours] : kLayer) {
    if (stem.substr(end + 1) == theirs) {
      return "model.layers." + std::string(layer) + "." + std::string(ours) + std::string(kind);
    }
  }
  return std::nullopt;
}

std::string gguf_name(std::string_view decoder_name) {
  const size_t dot = decoder_name.rfind('.');
  const std::string kind(decoder_name.substr(dot));
  const std::string_view stem = decoder_name.substr(0, dot);
  for (const auto& [theirs, ours] : kGlobal) {
    if (stem == ours) return std::string(theirs) + kind;
  }
  constexpr std::string_view kLayers = "model.layers.";
  const size_t end = stem.find('.', kLayers.size());
  for (const auto& [theirs, ours] : kLayer) {
    if (stem.substr(end + 1) == ours) {
      return "blk." + std::string(stem.substr(kLayers.size(), end - kLayers.size())) + "." + std::string(theirs) + kind;
    }
  }
  throw base::Error(base::kUnsupported, "GGUF has no name for the tensor " + std::string(decoder_name));
}

int64_t permuted_row(int64_t row, int64_t rows, int64_t heads) {
  const int64_t half = rows / heads / 2;
  const int64_t head = row / (2 * half), within = row % (2 * half);
  return head * 2 * half + 2 * (within % half) + within / half;
}

bool has_permuted_rows(std::string_view name) {
  return name.find(".self_attn.q_proj.") != std::string_view::npos ||
         name.find(".self_attn.k_proj.") != std::string_view::npos;
}

}  // namespace slipway::model
