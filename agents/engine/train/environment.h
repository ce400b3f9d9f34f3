// How the process runs: threads, their wait policy, memory, and the device. Used by main.cpp and trainer.cpp.
#pragma once

#include <cstdint>
#include <string>

namespace slipway::train {

// Sets how OpenMP and MKL wait and keep their results, by running this program again with the environment that
// libraries read when they are loaded. Returns when that has been done already. To be called first in main.
void prepare_process(char** argv);

// OMP_NUM_THREADS when set, else the CPUs this process may use (affinity and the cgroup's quota).
int usable_threads();

struct Gpus {
  int64_t count = 0;
  std::string why_none, advice;  // when there are none
};
// Loads libtorch_cuda.so beside libtorch_cpu.so when it is there, so that its kernels register.
Gpus load_cuda();

// True when this CPU multiplies bf16 in hardware (AVX512_BF16).
bool cpu_has_bf16();

// Gives what was freed back to the system, which at other times is kept for the next operation.
void give_back_freed_memory();

// The most memory this process has held, from /proc/self/status (VmHWM); 0 when unknown.
int64_t peak_resident_bytes();

// What this process may hold before the machine swaps or its cgroup kills it: what is free now and what it holds
// already
// (/proc/meminfo, memory.max); 0 when unknown.
int64_t available_memory_bytes();

}  // namespace slipway::train
