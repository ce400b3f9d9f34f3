#include "agents/node/nvml.h"

#include <dlfcn.h>
#include <spdlog/spdlog.h>

namespace slipway::node {
namespace {

// The few declarations of NVML's C interface that are used here, from NVIDIA's NVML API reference.
using Handle = void*;
using Result = int;  // 0: success
struct MemoryInfo {
  unsigned long long total, free, used;
};
struct Utilization {
  unsigned int gpu, memory;  // percent
};
constexpr int kTemperatureGpu = 0;

template <typename Function>
bool load(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(library, name));
  return function != nullptr;
}

}  // namespace

struct Nvml::Library {
  void* handle = nullptr;
  Result (*init)() = nullptr;
  Result (*shutdown)() = nullptr;
  Result (*count)(unsigned int*) = nullptr;
  Result (*by_index)(unsigned int, Handle*) = nullptr;
  Result (*name)(Handle, char*, unsigned int) = nullptr;
  Result (*memory)(Handle, MemoryInfo*) = nullptr;
  Result (*utilization)(Handle, Utilization*) = nullptr;
  Result (*power)(Handle, unsigned int*) = nullptr;  // milliwatts
  Result (*temperature)(Handle, int, unsigned int*) = nullptr;
  std::vector<Handle> devices;
  bool initialized = false;

  ~Library() {
    if (initialized) shutdown();
    if (handle != nullptr) dlclose(handle);
  }

  bool open(const std::string& path) {
    handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) return false;
    const bool complete =
        load(handle, "nvmlInit_v2", init) && load(handle, "nvmlShutdown", shutdown) &&
        load(handle, "nvmlDeviceGetCount_v2", count) && load(handle, "nvmlDeviceGetHandleByIndex_v2", by_index) &&
        load(handle, "nvmlDeviceGetName", name) && load(handle, "nvmlDeviceGetMemoryInfo", memory) &&
        load(handle, "nvmlDeviceGetUtilizationRates", utilization) && load(handle, "nvmlDeviceGetPowerUsage", power) &&
        load(handle, "nvmlDeviceGetTemperature", temperature);
    if (!complete) {
      spdlog::warn("{} lacks functions that are needed: no GPUs", path);
      return false;
    }
    if (const Result result = init(); result != 0) {
      spdlog::warn("the NVIDIA driver does not answer: no GPUs nvml_error={}", result);
      return false;
    }
    initialized = true;
    unsigned int number = 0;
    if (count(&number) != 0) return false;
    for (unsigned int i = 0; i < number; ++i) {
      Handle device = nullptr;
      if (by_index(i, &device) == 0) devices.push_back(device);
    }
    return true;
  }
};

Nvml::Nvml(const std::string& library) : library_(std::make_unique<Library>()) {
  if (!library_->open(library)) library_.reset();
}
Nvml::~Nvml() = default;

std::vector<GpuFacts> Nvml::facts() const {
  std::vector<GpuFacts> facts;
  if (!library_) return facts;
  for (const Handle device : library_->devices) {
    char name[96] = "NVIDIA GPU";
    library_->name(device, name, sizeof name);
    MemoryInfo memory{};
    library_->memory(device, &memory);
    facts.push_back({name, static_cast<int64_t>(memory.total)});
  }
  return facts;
}

std::vector<GpuReading> Nvml::readings() const {
  std::vector<GpuReading> readings;
  if (!library_) return readings;
  for (const Handle device : library_->devices) {
    GpuReading reading;
    MemoryInfo memory{};
    Utilization utilization{};
    unsigned int value = 0;
    if (library_->memory(device, &memory) == 0) {
      reading.memory_used_bytes = static_cast<int64_t>(memory.used);
      reading.memory_total_bytes = static_cast<int64_t>(memory.total);
    }
    if (library_->utilization(device, &utilization) == 0) reading.utilization = utilization.gpu / 100.0;
    if (library_->power(device, &value) == 0) reading.power_watts = value / 1000.0;
    if (library_->temperature(device, kTemperatureGpu, &value) == 0) reading.temperature_celsius = value;
    readings.push_back(reading);
  }
  return readings;
}

}  // namespace slipway::node
