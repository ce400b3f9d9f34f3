#include "agents/engine/train/environment.h"

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <cpuid.h>
#include <dlfcn.h>
#include <malloc.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>
#include <thread>

namespace slipway::train {

namespace {

constexpr char kPrepared[] = "SLIPWAY_TRAIN_PREPARED";

// The cgroup's CPU quota in whole CPUs, or 0 when there is none (cgroup v2's cpu.max: quota and period).
int cgroup_quota() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 0;
  return std::max(1, static_cast<int>(std::ceil(std::strtod(quota.c_str(), nullptr) / period)));
}

// The number behind `key` in one of /proc's files of kilobytes; 0 when there is none.
int64_t kilobytes_of(const char* path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(key)) return std::strtoll(line.c_str() + key.size(), nullptr, 10);
  }
  return 0;
}

}  // namespace

int usable_threads() {
  if (const char* text = std::getenv("OMP_NUM_THREADS"); text != nullptr && std::atoi(text) > 0) {
    return std::min(std::atoi(text), 4096);
  }
  int count = static_cast<int>(std::thread::hardware_concurrency());
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) count = CPU_COUNT(&set);
  if (const int quota = cgroup_quota(); quota > 0) count = std::min(count, quota);
  return std::max(1, count);
}

void prepare_process(char** argv) {
  // What /proc/self/exe starts, here and by the launcher, is called "exe" in ps and top otherwise.
  prctl(PR_SET_NAME, program_invocation_short_name);
  // Freed buffers are kept for the next operation instead of being returned to the kernel and faulted in again.
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_ARENA_MAX, 2);
  if (std::getenv(kPrepared) != nullptr) return;
  setenv(kPrepared, "1", 1);
  // Threads that wait sleep soon: on a shared machine spinning ones take the time of those that work. Not at once, as
  // most waits are shorter than falling asleep and being woken: some 50 microseconds (libgomp counts its looks).
  setenv("OMP_WAIT_POLICY", "PASSIVE", 0);
  setenv("GOMP_SPINCOUNT", "4000", 0);
  setenv("KMP_BLOCKTIME", "0", 0);
  // The same split of work in every run, whatever else runs: with it results repeat bit for bit.
  setenv("OMP_DYNAMIC", "FALSE", 1);
  setenv("MKL_DYNAMIC", "FALSE", 1);
  setenv("OMP_NUM_THREADS", std::to_string(usable_threads()).c_str(), 1);
  execv("/proc/self/exe", argv);
  // Where that fails (no /proc) training works all the same, only slower beside other programs.
}

Gpus load_cuda() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&at::detail::getCUDAHooks), &info) == 0 || info.dli_fname == nullptr)
    return {0, "libtorch is not a shared library", "build slipway-train with make cuda"};
  const std::filesystem::path library = std::filesystem::path(info.dli_fname).parent_path() / "libtorch_cuda.so";
  std::error_code failure;
  if (!std::filesystem::exists(library, failure))
    return {0, "this slipway-train stands on a libtorch for CPUs", "build it with make cuda, and run build-cuda/bin"};
  if (dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    const char* const reason = dlerror();
    return {0, reason == nullptr ? library.string() + " cannot be loaded" : reason,
            "run make cuda on a machine with an NVIDIA driver: it then installs the libraries that a GPU needs"};
  }
  const int64_t count = at::globalContext().hasCUDA() ? at::detail::getCUDAHooks().deviceCount() : 0;
  if (count > 0) return {count, {}, {}};
  return {0, "the NVIDIA driver shows no GPU", "check nvidia-smi, and CUDA_VISIBLE_DEVICES in the environment"};
}

bool cpu_has_bf16() {
  unsigned int eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) == 0) return false;
  return (eax & (1U << 5U)) != 0;  // CPUID.(7,1):EAX[5]
}

void give_back_freed_memory() { malloc_trim(0); }

int64_t peak_resident_bytes() { return kilobytes_of("/proc/self/status", "VmHWM:") * 1024; }

int64_t available_memory_bytes() {
  int64_t available =
      (kilobytes_of("/proc/meminfo", "MemAvailable:") + kilobytes_of("/proc/self/status", "VmRSS:")) * 1024;
  std::ifstream file("/sys/fs/cgroup/memory.max");
  if (int64_t limit = 0; file >> limit) available = std::min(available, limit);
  return available;
}

}  // namespace slipway::train
