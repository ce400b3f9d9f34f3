// Reads a model's weights into matrices, on all threads; those of a container are mapped and checked. Used by the
// decoder while it is made, and by quantize/.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "agents/engine/kernels/kernels.h"
#include "agents/engine/model/container.h"
#include "agents/engine/model/decoder_tensors.h"
#include "agents/engine/runtime/matrix.h"
#include "agents/engine/runtime/thread_pool.h"

namespace slipway::runtime {

// How a matrix of the decoder is kept where those of the layers are in `format`: learned positions as f32; the
// embeddings, and with them the output, with eight bits where the layers have four, since every token passes them
// whole.
kernels::WeightFormat kept_format(model::Role role, kernels::WeightFormat format);

// What is tried first for a matrix of so many columns that is packed while loading: kBF12 for kBF16.
kernels::WeightFormat short_format(kernels::WeightFormat format, int64_t columns);

// As headers of containers, specs and reports spell it.
const char* format_name(kernels::WeightFormat format);

// Matrices are asked for one by one, which checks their shapes, and get their memory and are filled together by load():
// one behind the other in the order in which they were asked for, which is how a decoder reads them.
class WeightLoader {
 public:
  // Throws base::Error, as open_decoder_weights and Container.
  WeightLoader(const std::filesystem::path& path, const model::Architecture& architecture, const kernels::Table& table);

  // A tensor of one dimension. Throws base::Error INVALID_MODEL when it is missing or of another size.
  std::vector<float> vector(const std::string& name, int64_t size) const;
  // Sets `matrix`, which must stay where it is until load() has returned. What is asked for as kBF16 is kept as kBF12
  // where that can hold it. Throws likewise.
  void matrix(const std::string& name, int64_t rows, int64_t columns, kernels::WeightFormat format, Matrix& matrix);
  // Reads and packs all matrices that were asked for. Throws what reading a bad one throws.
  void load(ThreadPool& pool);

 private:
  struct Pending {
    Matrix* matrix;
    std::string name;
    int64_t rows, columns;
    kernels::WeightFormat format;
    bool unfit = false;  // for kBF12; by std::atomic_ref
  };

  void check(const std::string& name, const std::vector<int64_t>& shape) const;
  const model::PackedTensor& packed(const std::string& name, kernels::WeightFormat format, size_t bytes) const;
  void place();
  void fill(Pending& pending, int64_t panel, std::vector<float>& buffer);
  void fill_all(ThreadPool& pool);

  std::string path_;
  std::shared_ptr<const model::Container> container_;  // one of these two
  std::unique_ptr<const model::Weights> weights_;
  const kernels::Table& table_;
  std::vector<Pending> pending_;
};

}  // namespace slipway::runtime
