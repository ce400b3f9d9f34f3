#include "agents/engine/runtime/memory_estimate.h"

#include "agents/engine/model/container.h"
#include "agents/engine/model/decoder_tensors.h"
#include "agents/engine/runtime/engine_options.h"
#include "agents/engine/runtime/weight_loader.h"

namespace slipway::runtime {
namespace {

int64_t weight_bytes(const model::DecoderTensor& tensor, kernels::WeightFormat format, bool container) {
  if (tensor.shape.size() == 1) return tensor.shape[0] * static_cast<int64_t>(sizeof(float));
  const int64_t columns = tensor.shape[1];
  format = kept_format(tensor.role, format);
  if (!container) format = short_format(format, columns);
  return (tensor.shape[0] + kernels::kPanel - 1) / kernels::kPanel * kernels::panel_bytes(format, columns);
}

}  // namespace

int64_t estimate_memory(const model::Architecture& architecture, const EngineOptions& options) {
  const bool container = model::is_container(architecture.path);
  const int64_t page = kernels::page_head_bytes(cache_format(options), architecture.head_dim);
  int64_t bytes = cache_pages(options, checked_max_length(options, architecture)) * page * 2 *
                  architecture.num_hidden_layers * architecture.num_key_value_heads;
  for (const model::DecoderTensor& tensor : model::decoder_tensors(architecture))
    bytes += weight_bytes(tensor, weight_format(options.weight_type), container);
  return bytes;
}

}  // namespace slipway::runtime
