#include "agents/engine/runtime/base_weights.h"

#include <cstring>

#include "agents/engine/kernels/kernels.h"
#include "agents/engine/model/container.h"
#include "agents/engine/model/decoder_tensors.h"
#include "agents/engine/runtime/weight_loader.h"
#include "backend/base/error.h"

namespace slipway::runtime {
namespace {

class PackedWeights : public model::Weights {
 public:
  explicit PackedWeights(const std::filesystem::path& path) : container_(path), names_(container_.names()) {}

  const std::vector<std::string>& names() const override { return names_; }
  bool contains(const std::string& name) const override { return container_.contains(name); }

  model::TensorView get(const std::string& name) const override {
    return {name, model::DType::kF32, container_.tensor(name).shape, {}};
  }

  void read_f32(const std::string& name, std::span<float> out) const override { read_rows_f32(name, 0, out); }

  void read_rows_f32(const std::string& name, int64_t first, std::span<float> out) const override {
    const model::PackedTensor& tensor = container_.tensor(name);
    const int64_t columns = tensor.shape.back();
    for (const auto format : {kernels::WeightFormat::kBF16, kernels::WeightFormat::kInt8, kernels::WeightFormat::kInt6,
                              kernels::WeightFormat::kInt4}) {
      if (tensor.format != format_name(format)) continue;
      const int64_t bytes = kernels::panel_bytes(format, columns);
      for (int64_t row = first; (row - first) * columns < static_cast<int64_t>(out.size()); ++row) {
        kernels::unpack_column(format, at(name, row / kernels::kPanel * bytes, bytes), row % kernels::kPanel, columns,
                               out.data() + (row - first) * columns);
      }
      return;
    }
    std::memcpy(out.data(), at(name, first * columns * 4, static_cast<int64_t>(out.size_bytes())), out.size_bytes());
  }

 private:
  const std::byte* at(const std::string& name, int64_t offset, int64_t bytes) const {
    const auto data = container_.tensor(name).data;
    if (offset < 0 || offset + bytes > static_cast<int64_t>(data.size())) {
      throw base::Error(base::kInvalidModel, "tensor " + name + " of the base model is shorter than its shape says",
                        "quantise the model again");
    }
    return data.data() + offset;
  }

  model::Container container_;
  std::vector<std::string> names_;
};

}  // namespace

std::unique_ptr<const model::Weights> open_base_weights(const model::Architecture& architecture) {
  if (model::is_container(architecture.path)) return std::make_unique<PackedWeights>(architecture.path);
  return model::open_decoder_weights(architecture.path, architecture);
}

}  // namespace slipway::runtime
