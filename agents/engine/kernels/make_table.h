// Puts a level's table together from its vector type V and its 16-wide type W. Included by the levels' files alone; see
// impl_elementwise.h.
#pragma once

#include "agents/engine/kernels/impl_attention.h"
#include "agents/engine/kernels/impl_elementwise.h"
#include "agents/engine/kernels/impl_matmul_f32.h"
#include "agents/engine/kernels/impl_matmul_panels.h"
#include "agents/engine/kernels/impl_pack.h"
#include "agents/engine/kernels/kernels.h"

namespace slipway::kernels {
namespace {

template <typename V, typename W>
void matmul(const MatmulCall& call) {
  switch (call.format) {
    case WeightFormat::kF32:
      matmul_f32<V>(call);
      break;
    case WeightFormat::kBF16:
      over_panels<W, Bf16Tile, W::kRows, W::kPanels>(call);
      break;
    case WeightFormat::kBF12:
      over_panels<W, Bf12Tile, W::kRows, W::kPanels>(call);
      break;
    case WeightFormat::kInt8:
      over_panels<W, ByteTile<kInt8Block>, W::kRows, W::kPanels>(call);
      break;
    case WeightFormat::kInt6:
      over_panels<W, Int6Tile, W::kRows, W::kPanels>(call);
      break;
    case WeightFormat::kInt4:
      over_panels<W, Int4Tile, W::kRows, W::kPanels>(call);
      break;
  }
}

template <typename V, typename W>
constexpr Table make_table(const char* name) {
  return {name,        matmul<V, W>,  attention<W>,     pack_row, pack_panel,          store_tokens,
          rms_norm<V>, layer_norm<V>, silu_multiply<V>, add<V>,   index_of_maximum<V>, sum_exp<V>};
}

}  // namespace
}  // namespace slipway::kernels
