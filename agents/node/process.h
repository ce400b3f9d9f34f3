// Processes by pid and start time, so that a pid used again is never taken for the old process. Any thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace slipway::node {

struct ProcessId {
  pid_t pid = 0;
  int64_t start_ticks = 0;  // field 22 of /proc/PID/stat: clock ticks since boot
  std::string boot_id;      // a pid of an earlier boot is gone
};

// /proc/sys/kernel/random/boot_id; empty when it cannot be read.
std::string current_boot_id();

// Start time of a live process; -1 when there is none, or only its zombie.
int64_t process_start_ticks(pid_t pid);

ProcessId identify(pid_t pid);

// True while exactly this process lives.
bool is_running(const ProcessId& process);

// Sends `signal` to the process group that `process` leads, if it is still that process. False when it is gone.
bool signal_group(const ProcessId& process, int signal);

// How many processes the kernel's OOM killer has killed since boot; -1 when unknown.
int64_t oom_kill_count();

}  // namespace slipway::node
