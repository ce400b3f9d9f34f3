#include "agents/engine/train/matrix_rate.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "agents/engine/train/decoder/products.h"

namespace slipway::train {

namespace {

constexpr int64_t kSize = 1024;
constexpr int kTries = 4;
constexpr double kTera = 1e12;

template <typename Multiply>
double best_rate(Multiply multiply) {
  using Clock = std::chrono::steady_clock;
  multiply();  // fills caches
  double best = 0;
  for (int i = 0; i < kTries; ++i) {
    const auto begin = Clock::now();
    multiply();
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    best = std::max(best, 2.0 * kSize * kSize * kSize / seconds);
  }
  return best;
}

double cpu_rate(at::ScalarType type) {
  const Compute compute = make_compute(at::kCPU, type, false);
  const at::Tensor x = at::ones({kSize, kSize}, type), y = at::empty({kSize, kSize}, type);
  const ProductWeight weight(at::ones({kSize, kSize}, type));
  at::Tensor target = y;
  const double libtorch = best_rate([&] { at::mm_out(target, x, weight.rows().t()); });
  if (!compute.own_products) return libtorch;
  return std::max(libtorch, best_rate([&] { forward_products(compute, x, {{&weight, y}}); }));
}

// The makers' data sheets: dense bf16 in TFLOP/s. The first name that the GPU's contains.
struct Gpu {
  std::string_view name;
  double bf16;
};
constexpr std::array<Gpu, 16> kGpus = {{{"B200", 2250},
                                        {"H200", 989},
                                        {"H100 PCIe", 756},
                                        {"H100 NVL", 835},
                                        {"H100", 989},
                                        {"A100", 312},
                                        {"A800", 312},
                                        {"L40S", 362},
                                        {"L40", 181},
                                        {"L4", 121},
                                        {"A40", 150},
                                        {"A30", 165},
                                        {"A10G", 70},
                                        {"A10", 125},
                                        {"RTX 4090", 165},
                                        {"RTX 3090", 71}}};

// What the driver calls the machine's GPUs; empty when they differ, or there is none.
std::string gpu_name() {
  std::string name;
  std::error_code failure;
  for (const auto& gpu : std::filesystem::directory_iterator("/proc/driver/nvidia/gpus", failure)) {
    std::ifstream file(gpu.path() / "information");
    for (std::string line; std::getline(file, line);) {
      if (!line.starts_with("Model:")) continue;
      if (!name.empty() && name != line) return {};
      name = line;
    }
  }
  return name;
}

double gpu_rate(at::ScalarType type) {
  const std::string name = gpu_name();
  for (const Gpu& gpu : kGpus) {
    if (name.find(gpu.name) != std::string::npos) return gpu.bf16 * kTera * (type == at::kBFloat16 ? 1.0 : 0.5);
  }
  return 0;
}

}  // namespace

double matrix_rate(at::Device device, at::ScalarType type) { return device.is_cpu() ? cpu_rate(type) : gpu_rate(type); }

}  // namespace slipway::train
