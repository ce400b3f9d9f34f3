#include "agents/engine/runtime/weight_loader.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <mutex>
#include <span>

#include "agents/engine/model/shape_text.h"
#include "backend/base/error.h"

namespace slipway::runtime {
namespace {

constexpr int64_t kPanelsAtOnce = 16;  // one task: some hundred kilobytes

}  // namespace

kernels::WeightFormat kept_format(model::Role role, kernels::WeightFormat format) {
  if (role == model::Role::kPositions) return kernels::WeightFormat::kF32;
  const bool whole = role == model::Role::kEmbeddings || role == model::Role::kOutput;
  return whole && format == kernels::WeightFormat::kInt4 ? kernels::WeightFormat::kInt6 : format;
}

kernels::WeightFormat short_format(kernels::WeightFormat format, int64_t columns) {
  const bool fits = format == kernels::WeightFormat::kBF16 && columns % kernels::kBf12Step == 0;
  return fits ? kernels::WeightFormat::kBF12 : format;
}

const char* format_name(kernels::WeightFormat format) {
  switch (format) {
    case kernels::WeightFormat::kBF16:
      return "bf16";
    case kernels::WeightFormat::kBF12:
      return "bf12";
    case kernels::WeightFormat::kInt8:
      return "int8";
    case kernels::WeightFormat::kInt6:
      return "int6";
    case kernels::WeightFormat::kInt4:
      return "int4";
    case kernels::WeightFormat::kF32:
      break;
  }
  return "f32";
}

WeightLoader::WeightLoader(const std::filesystem::path& path, const model::Architecture& architecture,
                           const kernels::Table& table)
    : path_(path.string()), table_(table) {
  if (model::is_container(path)) {
    container_ = std::make_shared<const model::Container>(path);
  } else {
    weights_ = model::open_decoder_weights(path, architecture);
  }
}

std::vector<float> WeightLoader::vector(const std::string& name, int64_t size) const {
  check(name, {size});
  std::vector<float> values(static_cast<size_t>(size));
  if (container_) {
    const auto& tensor = packed(name, kernels::WeightFormat::kF32, values.size() * sizeof(float));
    container_->verify(name);
    std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
  } else {
    weights_->read_f32(name, values);
  }
  return values;
}

void WeightLoader::matrix(const std::string& name, int64_t rows, int64_t columns, kernels::WeightFormat format,
                          Matrix& matrix) {
  check(name, {rows, columns});  // before memory is asked for: the configuration may lie
  pending_.push_back({&matrix, name, rows, columns, container_ ? format : short_format(format, columns)});
}

// Gives every matrix its memory: in the container, or in one piece for all.
void WeightLoader::place() {
  const auto bytes_of = [](const Pending& pending) {
    const int64_t panels = (pending.rows + kernels::kPanel - 1) / kernels::kPanel;
    return static_cast<size_t>(panels * kernels::panel_bytes(pending.format, pending.columns));
  };
  const auto aligned = [](size_t bytes) {
    return static_cast<size_t>(kernels::round_up(static_cast<int64_t>(bytes), 64));
  };
  size_t size = 0;
  for (const Pending& pending : pending_) size += container_ ? 0 : aligned(bytes_of(pending));
  const auto memory = std::make_shared<Pages>(size);
  memory->prefer_large();
  auto* next = memory->as<std::byte>();
  for (const Pending& pending : pending_) {
    if (container_) {
      const std::byte* data = packed(pending.name, pending.format, bytes_of(pending)).data.data();
      *pending.matrix = Matrix(pending.rows, pending.columns, pending.format, container_, data);
    } else {
      *pending.matrix = Matrix(pending.rows, pending.columns, pending.format, memory, next);
      next += aligned(bytes_of(pending));
    }
  }
}

void WeightLoader::fill(Pending& pending, int64_t panel, std::vector<float>& buffer) {
  if (container_) {
    container_->verify(pending.name);
    return;
  }
  Matrix& matrix = *pending.matrix;
  const std::atomic_ref<bool> unfit(pending.unfit);
  const int64_t last = std::min(panel + kPanelsAtOnce, matrix.panels());
  for (; panel < last && !unfit; ++panel) {
    const int64_t row = panel * kernels::kPanel;
    const int64_t rows = std::min(kernels::kPanel, matrix.rows() - row);
    buffer.resize(static_cast<size_t>(rows * matrix.columns()));
    weights_->read_rows_f32(pending.name, row, buffer);
    if (!matrix.set_panel(panel, buffer, table_)) unfit = true;
  }
}

void WeightLoader::load(ThreadPool& pool) {
  place();
  fill_all(pool);
  // Again, what could not be kept as kBF12.
  std::erase_if(pending_, [](const Pending& pending) { return !pending.unfit; });
  for (Pending& pending : pending_) {
    pending.matrix->release();
    pending.format = kernels::WeightFormat::kBF16;
    pending.unfit = false;
  }
  if (!pending_.empty()) {
    place();
    fill_all(pool);
  }
  pending_.clear();
}

void WeightLoader::fill_all(ThreadPool& pool) {
  struct Task {
    Pending* pending;
    int64_t panel;
  };
  std::vector<Task> tasks;
  for (Pending& pending : pending_) {
    const int64_t step = container_ ? pending.matrix->panels() : kPanelsAtOnce;
    for (int64_t panel = 0; panel < pending.matrix->panels(); panel += step) tasks.push_back({&pending, panel});
  }
  std::vector<std::vector<float>> buffers(static_cast<size_t>(pool.threads()));
  std::mutex mutex;
  std::exception_ptr failure;
  pool.run(static_cast<int64_t>(tasks.size()), [&](int64_t index, int worker) {
    const Task& task = tasks[static_cast<size_t>(index)];
    try {
      fill(*task.pending, task.panel, buffers[static_cast<size_t>(worker)]);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (failure == nullptr) failure = std::current_exception();
    }
  });
  if (failure != nullptr) std::rethrow_exception(failure);
}

void WeightLoader::check(const std::string& name, const std::vector<int64_t>& shape) const {
  const auto found = container_ ? container_->tensor(name).shape : weights_->get(name).shape;
  if (found == shape) return;
  throw base::Error(base::kInvalidModel,
                    path_ + ": tensor " + name + " is " + model::shape_text(found) + ", the configuration says " +
                        model::shape_text(shape),
                    "the weights and the configuration are of different models; download or export the model again");
}

const model::PackedTensor& WeightLoader::packed(const std::string& name, kernels::WeightFormat format,
                                                size_t bytes) const {
  const model::PackedTensor& tensor = container_->tensor(name);
  if (tensor.format == format_name(format) && tensor.data.size() == bytes) return tensor;
  throw base::Error(base::kInvalidModel,
                    path_ + ": tensor " + name + " is " + std::to_string(tensor.data.size()) + " bytes of " +
                        tensor.format + ", expected " + std::to_string(bytes) + " of " + format_name(format),
                    "quantise the model again with this version of Slipway");
}

}  // namespace slipway::runtime
