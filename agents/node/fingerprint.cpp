#include "agents/node/fingerprint.h"

#include <hwloc.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <sstream>
#include <thread>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace slipway::node {
namespace {

std::string trimmed(std::string text) {
  const auto first = text.find_first_not_of(" \t\n");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\n") - first + 1);
}

std::string cpu_model_from_proc() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind("model name", 0) == 0) return trimmed(line.substr(line.find(':') + 1));
  }
  return "unknown CPU";
}

// Model, cores and memory from hwloc, as far as this process may use them.
void read_topology(v1::NodeFacts& facts) {
  hwloc_topology_t topology;
  if (hwloc_topology_init(&topology) != 0) return;
  if (hwloc_topology_load(topology) == 0) {
    const hwloc_obj_t root = hwloc_get_root_obj(topology);
    const hwloc_obj_t package = hwloc_get_obj_by_type(topology, HWLOC_OBJ_PACKAGE, 0);
    for (const hwloc_obj_t object : {package, root}) {
      if (object == nullptr || !facts.cpu_model().empty()) continue;
      if (const char* model = hwloc_obj_get_info_by_name(object, "CPUModel")) facts.set_cpu_model(trimmed(model));
    }
    const int cores = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE);
    const int units = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PU);
    facts.set_cpu_cores(cores > 0 ? cores : units);
    facts.set_memory_bytes(static_cast<int64_t>(root->total_memory));
  }
  hwloc_topology_destroy(topology);
}

}  // namespace

std::string os_name_from(const std::string& os_release) {
  std::istringstream lines(os_release);
  std::string line;
  while (std::getline(lines, line)) {
    if (line.rfind("PRETTY_NAME=", 0) != 0) continue;
    std::string value = line.substr(12);
    if (value.size() >= 2 && (value.front() == '"' || value.front() == '\'')) value = value.substr(1, value.size() - 2);
    return value;
  }
  return "";
}

std::vector<std::string> read_cpu_features() {
  std::vector<std::string> features;
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return features;
  const unsigned ecx1 = c;
  unsigned saved = 0;  // register states that the kernel saves: without them the instructions fault
  if ((ecx1 >> 27U) & 1U) {
    unsigned high = 0;
    __asm__ volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
  }
  const bool ymm = (saved & 0x6U) == 0x6U;
  const bool zmm = (saved & 0xE6U) == 0xE6U;
  const bool tiles = (saved & 0x60000U) == 0x60000U;
  unsigned b7 = 0, c7 = 0, d7 = 0, a71 = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) != 0) {
    b7 = b;
    c7 = c;
    d7 = d;
  }
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) a71 = a;
  const struct {
    const char* name;
    unsigned word;
    unsigned bit;
    bool usable;
  } known[] = {
      {"sse4_2", ecx1, 20, true},   {"avx", ecx1, 28, ymm},       {"f16c", ecx1, 29, ymm},
      {"fma", ecx1, 12, ymm},       {"avx2", b7, 5, ymm},         {"avx_vnni", a71, 4, ymm},
      {"avx512f", b7, 16, zmm},     {"avx512dq", b7, 17, zmm},    {"avx512bw", b7, 30, zmm},
      {"avx512vl", b7, 31, zmm},    {"avx512_vbmi", c7, 1, zmm},  {"avx512_vnni", c7, 11, zmm},
      {"avx512_bf16", a71, 5, zmm}, {"avx512_fp16", d7, 23, zmm}, {"amx_tile", d7, 24, tiles},
      {"amx_int8", d7, 25, tiles},  {"amx_bf16", d7, 22, tiles},
  };
  for (const auto& feature : known) {
    if (feature.usable && ((feature.word >> feature.bit) & 1U)) features.emplace_back(feature.name);
  }
#endif
  return features;
}

v1::NodeFacts read_facts(const std::string& name, const std::filesystem::path& data, const Nvml& nvml,
                         const std::string& agent_version) {
  v1::NodeFacts facts;
  facts.set_name(name);
  if (name.empty()) {
    char host[256] = "node";
    gethostname(host, sizeof host - 1);
    facts.set_name(host);
  }
  read_topology(facts);
  if (facts.cpu_model().empty()) facts.set_cpu_model(cpu_model_from_proc());
  if (facts.cpu_cores() <= 0) facts.set_cpu_cores(static_cast<int>(std::thread::hardware_concurrency()));
  if (facts.memory_bytes() <= 0) {
    facts.set_memory_bytes(static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE));
  }
  struct statvfs disk {};
  if (statvfs(data.c_str(), &disk) == 0) {
    facts.set_disk_bytes(static_cast<int64_t>(disk.f_blocks) * static_cast<int64_t>(disk.f_frsize));
  }
  std::ifstream release("/etc/os-release");
  std::string os = os_name_from({std::istreambuf_iterator<char>(release), std::istreambuf_iterator<char>()});
  utsname kernel{};
  uname(&kernel);
  facts.set_os((os.empty() ? std::string(kernel.sysname) : os) + ", kernel " + kernel.release);
  for (auto& feature : read_cpu_features()) facts.add_cpu_features(feature);
  facts.set_agent_version(agent_version);

  auto* cpu = facts.add_devices();
  cpu->set_id("cpu");
  cpu->set_kind("cpu");
  cpu->set_name(facts.cpu_model());
  cpu->set_memory_bytes(facts.memory_bytes());
  int index = 0;
  for (const auto& gpu : nvml.facts()) {
    auto* device = facts.add_devices();
    device->set_id("gpu" + std::to_string(index++));
    device->set_kind("cuda");
    device->set_name(gpu.name);
    device->set_memory_bytes(gpu.memory_bytes);
  }
  return facts;
}

}  // namespace slipway::node
