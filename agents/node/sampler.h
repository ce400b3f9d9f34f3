// What this machine is doing, every two seconds: CPU, memory, disk and GPUs. Rates are over the time between two
// samples.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "agents/node/nvml.h"
#include "backend/base/clock.h"
#include "slipway/v1/node.pb.h"

namespace slipway::node {

struct CpuTimes {
  uint64_t busy = 0, total = 0;  // clock ticks since boot, of all cores
};
struct MemoryUse {
  int64_t used_bytes = 0, total_bytes = 0;
};
struct DiskTraffic {
  uint64_t read_bytes = 0, written_bytes = 0;  // since boot, of all whole disks
};

// From the texts of /proc/stat, /proc/meminfo and /proc/diskstats (proc(5)). What cannot be read is 0.
CpuTimes parse_cpu_times(const std::string& proc_stat);
MemoryUse parse_memory(const std::string& meminfo);
DiskTraffic parse_disk_traffic(const std::string& diskstats);

// One thread.
class Sampler {
 public:
  // `proc`: /proc. `data`: the folder whose disk counts.
  Sampler(std::filesystem::path proc, std::filesystem::path data, const Nvml& nvml, const base::Clock& clock);

  // The first sample has no rates: it takes two readings to know one.
  v1::NodeSample sample();

 private:
  const std::filesystem::path proc_;
  const std::filesystem::path data_;
  const Nvml& nvml_;
  const base::Clock& clock_;
  std::optional<CpuTimes> last_cpu_;
  std::optional<DiskTraffic> last_disk_;
  int64_t last_ms_ = 0;
};

}  // namespace slipway::node
