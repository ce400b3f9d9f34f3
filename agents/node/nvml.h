// NVIDIA's management library, loaded at run time: absent on machines without a driver, which then have no GPUs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace slipway::node {

struct GpuFacts {
  std::string name;
  int64_t memory_bytes = 0;
};

struct GpuReading {
  double utilization = 0;  // 0 to 1
  int64_t memory_used_bytes = 0;
  int64_t memory_total_bytes = 0;
  double power_watts = 0;
  double temperature_celsius = 0;
};

// Index i is the device gpu<i>, in PCI order. One thread.
class Nvml {
 public:
  // Tries to load `library`; without it, or without a working driver, there are no GPUs.
  explicit Nvml(const std::string& library = "libnvidia-ml.so.1");
  ~Nvml();
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  std::vector<GpuFacts> facts() const;
  // One reading per GPU; what a GPU does not report stays 0.
  std::vector<GpuReading> readings() const;

 private:
  struct Library;
  std::unique_ptr<Library> library_;
};

}  // namespace slipway::node
