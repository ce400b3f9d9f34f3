#include "agents/engine/runtime/weight_loader.h"

#include <algorithm>
#include <exception>
#include <mutex>
#include <span>

#include "backend/base/error.h"

namespace slipway::runtime {
namespace {

constexpr int64_t kPanelsAtOnce = 16;  // one task: some hundred kilobytes

}  // namespace

WeightLoader::WeightLoader(const std::filesystem::path& path, const model::Architecture& architecture,
                           const kernels::Table& table)
    : path_(path.string()), weights_(model::open_decoder_weights(path, architecture)), table_(table) {}

std::vector<float> WeightLoader::vector(const std::string& name, int64_t size) const {
  check(name, {size});
  std::vector<float> values(static_cast<size_t>(size));
  weights_->read_f32(name, values);
  return values;
}

void WeightLoader::matrix(const std::string& name, int64_t rows, int64_t columns, kernels::WeightFormat format,
                          Matrix& matrix) {
  check(name, {rows, columns});  // before memory is asked for: the configuration may lie
  matrix = Matrix(rows, columns, format);
  pending_.push_back({&matrix, name});
}

void WeightLoader::load(ThreadPool& pool) {
  struct Task {
    const Pending* pending;
    int64_t panel;
  };
  std::vector<Task> tasks;
  for (const Pending& pending : pending_) {
    for (int64_t panel = 0; panel < pending.matrix->panels(); panel += kPanelsAtOnce)
      tasks.push_back({&pending, panel});
  }
  std::vector<std::vector<float>> buffers(static_cast<size_t>(pool.threads()));
  std::mutex mutex;
  std::exception_ptr failure;
  pool.run(static_cast<int64_t>(tasks.size()), [&](int64_t index, int worker) {
    const Task& task = tasks[static_cast<size_t>(index)];
    Matrix& matrix = *task.pending->matrix;
    std::vector<float>& buffer = buffers[static_cast<size_t>(worker)];
    try {
      const int64_t last = std::min(task.panel + kPanelsAtOnce, matrix.panels());
      for (int64_t panel = task.panel; panel < last; ++panel) {
        const int64_t row = panel * kernels::kPanel;
        const int64_t rows = std::min(kernels::kPanel, matrix.rows() - row);
        buffer.resize(static_cast<size_t>(rows * matrix.columns()));
        weights_->read_rows_f32(task.pending->name, row, buffer);
        matrix.set_panel(panel, buffer, table_);
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (failure == nullptr) failure = std::current_exception();
    }
  });
  pending_.clear();
  if (failure != nullptr) std::rethrow_exception(failure);
}

void WeightLoader::check(const std::string& name, const std::vector<int64_t>& shape) const {
  const auto view = weights_->get(name);
  if (view.shape == shape) return;
  const auto text = [](const std::vector<int64_t>& sizes) {
    std::string joined;
    for (const int64_t size : sizes) joined += (joined.empty() ? "" : " × ") + std::to_string(size);
    return joined;
  };
  throw base::Error(base::kInvalidModel,
                    path_ + ": tensor " + name + " is " + text(view.shape) + ", the configuration says " + text(shape),
                    "the weights and the configuration are of different models; download or export the model again");
}

}  // namespace slipway::runtime
