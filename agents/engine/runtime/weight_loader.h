// Reads a model's weights into matrices, on all threads. Used by the decoder while it is made.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "agents/engine/kernels/kernels.h"
#include "agents/engine/model/decoder_tensors.h"
#include "agents/engine/runtime/matrix.h"
#include "agents/engine/runtime/thread_pool.h"

namespace slipway::runtime {

// Matrices are asked for one by one, which checks their shapes and takes their memory, and are filled together by
// load().
class WeightLoader {
 public:
  // Throws base::Error, as open_decoder_weights.
  WeightLoader(const std::filesystem::path& path, const model::Architecture& architecture, const kernels::Table& table);

  // A tensor of one dimension. Throws base::Error INVALID_MODEL when it is missing or of another size.
  std::vector<float> vector(const std::string& name, int64_t size) const;
  // Sets `matrix`, which must stay where it is until load() has returned. Throws likewise.
  void matrix(const std::string& name, int64_t rows, int64_t columns, kernels::WeightFormat format, Matrix& matrix);
  // Reads and packs all matrices that were asked for. Throws what reading the first bad one throws.
  void load(ThreadPool& pool);

 private:
  struct Pending {
    Matrix* matrix;
    std::string name;
  };

  void check(const std::string& name, const std::vector<int64_t>& shape) const;

  std::string path_;
  std::unique_ptr<const model::Weights> weights_;
  const kernels::Table& table_;
  std::vector<Pending> pending_;
};

}  // namespace slipway::runtime
