// The products of rows by weights, and what stands between them.
#include <algorithm>

#include "agents/engine/runtime/decoder.h"

namespace slipway::runtime {
namespace {

// Panels that one task of a product takes: some tasks per thread, so that one that is held up does not hold up all; in
// twos, as the kernels take them.
int64_t panels_of_task(int64_t panels, int threads) {
  constexpr int64_t kTasksPerThread = 4;
  const int64_t tasks = kTasksPerThread * threads;
  return std::max<int64_t>(2, ((panels + tasks - 1) / tasks + 1) / 2 * 2);
}

}  // namespace

void Decoder::norm_row(const Norm& norm, const float* x, float* out) const {
  const auto epsilon = static_cast<float>(architecture_.rms_norm_eps);
  if (norm.bias.empty()) {
    table_.rms_norm(x, norm.weight.data(), epsilon, architecture_.hidden_size, out);
  } else {
    table_.layer_norm(x, norm.weight.data(), norm.bias.data(), epsilon, architecture_.hidden_size, out);
  }
}

Decoder::Input Decoder::normalize(const float* x, const Norm& norm, int64_t rows, kernels::WeightFormat format) {
  const int64_t size = architecture_.hidden_size;
  const int64_t bytes = kernels::activation_bytes(format, size);
  parallel((rows + kRowsOfTask - 1) / kRowsOfTask, 4 * rows * size, [&](int64_t index, int) {
    for (int64_t row = index * kRowsOfTask; row < std::min(rows, (index + 1) * kRowsOfTask); ++row) {
      float* normed = normed_.data() + row * size;
      norm_row(norm, x + row * size, normed);
      if (format != kernels::WeightFormat::kF32) {
        table_.pack_row({format, normed, 0, size, size, packed_.as<std::byte>() + row * bytes});
      }
    }
  });
  return {normed_.data(), size, packed_.as<std::byte>()};
}

bool Decoder::adapted(std::span<const Segment> segments, size_t layer, Module module) const {
  return std::any_of(segments.begin(), segments.end(), [&](const Segment& segment) {
    return segment.lora != nullptr && segment.lora->layers[layer][static_cast<size_t>(module)].rank > 0;
  });
}

void Decoder::add_branch(const Norm& norm, int64_t rows) {
  const int64_t size = architecture_.hidden_size;
  parallel((rows + kRowsOfTask - 1) / kRowsOfTask, 4 * rows * size, [&](int64_t index, int) {
    for (int64_t row = index * kRowsOfTask; row < std::min(rows, (index + 1) * kRowsOfTask); ++row) {
      float* branch = branch_.data() + row * size;
      if (!norm.weight.empty()) norm_row(norm, branch, branch);
      table_.add(hidden_.data() + row * size, branch, size);
    }
  });
}

Decoder::Input Decoder::pack(const float* x, int64_t stride, int64_t rows, int64_t width) {
  if (format_ != kernels::WeightFormat::kF32) {
    const int64_t bytes = kernels::activation_bytes(format_, width);
    parallel((rows + kRowsOfTask - 1) / kRowsOfTask, 4 * rows * width, [&](int64_t index, int) {
      for (int64_t row = index * kRowsOfTask; row < std::min(rows, (index + 1) * kRowsOfTask); ++row) {
        table_.pack_row({format_, x + row * stride, 0, width, width, packed_.as<std::byte>() + row * bytes});
      }
    });
  }
  return {x, stride, packed_.as<std::byte>()};
}

kernels::MatmulCall Decoder::matmul_call(const Input& input, int64_t rows, const Product& product, int worker) const {
  const Matrix& weights = product.linear->weights;
  kernels::MatmulCall call;
  call.format = weights.format();
  call.depth = weights.columns();
  const bool f32 = call.format == kernels::WeightFormat::kF32;
  call.x = f32 ? static_cast<const void*>(input.x) : input.packed;
  call.x_stride =
      f32 ? input.stride * static_cast<int64_t>(sizeof(float)) : kernels::activation_bytes(call.format, call.depth);
  call.rows = rows;
  call.weights = weights.data();
  call.end = weights.rows();
  call.bias = product.linear->bias.empty() ? nullptr : product.linear->bias.data();
  call.y = product.y;
  call.y_stride = product.stride;
  call.accumulate = product.accumulate;
  call.scratch = scratch_[static_cast<size_t>(worker)].as<void>();
  return call;
}

void Decoder::multiply(const Input& input, int64_t rows, std::span<const Product> products) {
  int64_t panels = 0;
  for (const Product& product : products) panels += product.linear->weights.panels();
  const int64_t piece = panels_of_task(panels, pool_.threads());
  int64_t tasks = 0;
  for (const Product& product : products) tasks += (product.linear->weights.panels() + piece - 1) / piece;
  const int64_t depth = products.front().linear->weights.columns();
  pool_.expect(products.back().linear->after);
  parallel(tasks, rows * panels * kernels::kPanel * depth, [&](int64_t index, int worker) {
    auto product = products.begin();
    for (;; ++product) {
      const int64_t of_product = (product->linear->weights.panels() + piece - 1) / piece;
      if (index < of_product) break;
      index -= of_product;
    }
    kernels::MatmulCall call = matmul_call(input, rows, *product, worker);
    call.begin = index * piece * kernels::kPanel;
    call.end = std::min(call.end, call.begin + piece * kernels::kPanel);
    table_.matmul(call);
  });
}

void Decoder::multiply_f32(kernels::MatmulCall call, int64_t columns) {
  const int64_t piece =
      panels_of_task((columns + kernels::kPanel - 1) / kernels::kPanel, pool_.threads()) * kernels::kPanel;
  parallel((columns + piece - 1) / piece, call.rows * columns * call.depth, [&](int64_t index, int) {
    kernels::MatmulCall part = call;
    part.begin = index * piece;
    part.end = std::min(columns, part.begin + piece);
    table_.matmul(part);
  });
}

void Decoder::add_lora(std::span<const Segment> segments, size_t layer, Module module, const Linear& linear,
                       const float* x, int64_t x_stride, float* y, int64_t y_stride) {
  for (size_t first = 0; first < segments.size();) {
    const Lora* lora = segments[first].lora;
    size_t last = first;
    int64_t rows = 0;
    for (; last < segments.size() && segments[last].lora == lora; ++last) rows += segments[last].rows;
    const int64_t row = segments[first].row;
    first = last;
    if (lora == nullptr) continue;
    const LoraLinear& change = lora->layers[layer][static_cast<size_t>(module)];
    if (change.rank == 0) continue;
    for (int64_t i = row; !change.gain.empty() && i < row + rows; ++i) {
      for (size_t j = 0; j < change.gain.size(); ++j) {
        const float bias = linear.bias.empty() ? 0.0F : linear.bias[j];
        float& value = y[i * y_stride + static_cast<int64_t>(j)];
        value = (value - bias) * change.gain[j] + bias;
      }
    }
    lora_.resize(std::max(lora_.size(), static_cast<size_t>(rows * change.rank)));
    kernels::MatmulCall down;
    down.x = x + row * x_stride;
    down.x_stride = x_stride * static_cast<int64_t>(sizeof(float));
    down.rows = rows;
    down.weights = change.a.data();
    down.depth = static_cast<int64_t>(change.a.size()) / change.rank;
    down.y = lora_.data();
    down.y_stride = change.rank;
    multiply_f32(down, change.rank);
    kernels::MatmulCall up;
    up.x = lora_.data();
    up.x_stride = change.rank * static_cast<int64_t>(sizeof(float));
    up.rows = rows;
    up.weights = change.b.data();
    up.depth = change.rank;
    up.y = y + row * y_stride;
    up.y_stride = y_stride;
    up.accumulate = true;
    multiply_f32(up, static_cast<int64_t>(change.b.size()) / change.rank);
  }
}

}  // namespace slipway::runtime
