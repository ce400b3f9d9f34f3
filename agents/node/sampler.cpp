#include "agents/node/sampler.h"

#include <sys/statvfs.h>

#include <cctype>
#include <fstream>
#include <iterator>
#include <sstream>
#include <utility>

namespace slipway::node {
namespace {

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// sda, vda, nvme0n1, not sda1, nvme0n1p2, loop0, dm-0: a partition's traffic is its disk's too.
bool is_whole_disk(const std::string& name) {
  const bool letters =
      (name.rfind("sd", 0) == 0 || name.rfind("vd", 0) == 0 || name.rfind("hd", 0) == 0 || name.rfind("xvd", 0) == 0) &&
      std::isdigit(static_cast<unsigned char>(name.back())) == 0;
  const bool nvme = name.rfind("nvme", 0) == 0 && name.find('p') == std::string::npos;
  const bool mmc = name.rfind("mmcblk", 0) == 0 && name.find('p') == std::string::npos;
  return letters || nvme || mmc;
}

}  // namespace

CpuTimes parse_cpu_times(const std::string& proc_stat) {
  std::istringstream words(proc_stat);
  std::string label;
  uint64_t user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0;
  words >> label >> user >> nice >> system >> idle >> iowait >> irq >> softirq >> steal;
  if (label != "cpu") return {};
  const uint64_t busy = user + nice + system + irq + softirq + steal;
  return {busy, busy + idle + iowait};
}

MemoryUse parse_memory(const std::string& meminfo) {
  const auto bytes = [&](const std::string& key) -> int64_t {
    std::istringstream lines(meminfo);
    std::string name;
    int64_t kibibytes = 0;
    std::string rest;
    while (lines >> name >> kibibytes) {
      if (name == key) return kibibytes * 1024;
      std::getline(lines, rest);
    }
    return 0;
  };
  const int64_t total = bytes("MemTotal:");
  return {total - bytes("MemAvailable:"), total};
}

DiskTraffic parse_disk_traffic(const std::string& diskstats) {
  DiskTraffic traffic;
  std::istringstream lines(diskstats);
  std::string line;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    uint64_t major = 0, minor = 0, reads = 0, merged = 0, sectors_read = 0, read_ms = 0, writes = 0, writes_merged = 0,
             sectors_written = 0;
    std::string name;
    words >> major >> minor >> name >> reads >> merged >> sectors_read >> read_ms >> writes >> writes_merged >>
        sectors_written;
    if (!words || name.empty() || !is_whole_disk(name)) continue;
    traffic.read_bytes += sectors_read * 512;  // sectors of 512 bytes, whatever the disk's own
    traffic.written_bytes += sectors_written * 512;
  }
  return traffic;
}

Sampler::Sampler(std::filesystem::path proc, std::filesystem::path data, const Nvml& nvml, const base::Clock& clock)
    : proc_(std::move(proc)), data_(std::move(data)), nvml_(nvml), clock_(clock) {}

v1::NodeSample Sampler::sample() {
  v1::NodeSample sample;
  const int64_t now_ms = clock_.now_ms();
  sample.mutable_time()->set_seconds(now_ms / 1000);
  sample.mutable_time()->set_nanos(static_cast<int32_t>(now_ms % 1000) * 1'000'000);

  const CpuTimes cpu = parse_cpu_times(read_text(proc_ / "stat"));
  if (last_cpu_ && cpu.total > last_cpu_->total && cpu.busy >= last_cpu_->busy) {
    sample.set_cpu_utilization(static_cast<double>(cpu.busy - last_cpu_->busy) /
                               static_cast<double>(cpu.total - last_cpu_->total));
  }
  const MemoryUse memory = parse_memory(read_text(proc_ / "meminfo"));
  sample.set_memory_used_bytes(memory.used_bytes);
  sample.set_memory_total_bytes(memory.total_bytes);

  struct statvfs disk {};
  if (statvfs(data_.c_str(), &disk) == 0) {
    const auto block = static_cast<int64_t>(disk.f_frsize);
    sample.set_disk_total_bytes(static_cast<int64_t>(disk.f_blocks) * block);
    sample.set_disk_used_bytes(static_cast<int64_t>(disk.f_blocks - disk.f_bfree) * block);
  }
  const DiskTraffic traffic = parse_disk_traffic(read_text(proc_ / "diskstats"));
  const double seconds = static_cast<double>(now_ms - last_ms_) / 1000.0;
  if (last_disk_ && seconds > 0 && traffic.read_bytes >= last_disk_->read_bytes &&
      traffic.written_bytes >= last_disk_->written_bytes) {
    sample.set_disk_read_bytes_per_second(static_cast<double>(traffic.read_bytes - last_disk_->read_bytes) / seconds);
    sample.set_disk_write_bytes_per_second(static_cast<double>(traffic.written_bytes - last_disk_->written_bytes) /
                                           seconds);
  }
  last_cpu_ = cpu;
  last_disk_ = traffic;
  last_ms_ = now_ms;

  int index = 0;
  for (const auto& reading : nvml_.readings()) {
    auto* gpu = sample.add_gpus();
    gpu->set_device_id("gpu" + std::to_string(index++));
    gpu->set_utilization(reading.utilization);
    gpu->set_memory_used_bytes(reading.memory_used_bytes);
    gpu->set_memory_total_bytes(reading.memory_total_bytes);
    gpu->set_power_watts(reading.power_watts);
    gpu->set_temperature_celsius(reading.temperature_celsius);
  }
  return sample;
}

}  // namespace slipway::node
