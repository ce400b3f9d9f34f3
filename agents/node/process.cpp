#include "agents/node/process.h"

#include <signal.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

namespace slipway::node {
namespace {

std::string read_small_file(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace

std::string current_boot_id() {
  std::string id = read_small_file("/proc/sys/kernel/random/boot_id");
  while (!id.empty() && (id.back() == '\n' || id.back() == ' ')) id.pop_back();
  return id;
}

int64_t process_start_ticks(pid_t pid) {
  if (pid <= 0) return -1;
  const std::string stat = read_small_file("/proc/" + std::to_string(pid) + "/stat");
  // The second field is the name in parentheses and may hold anything: count on from its last ')'.
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos || name_end + 2 >= stat.size()) return -1;
  const char state = stat[name_end + 2];
  if (state == 'Z' || state == 'X') return -1;
  size_t position = name_end + 2;
  for (int field = 3; field < 22; ++field) {
    position = stat.find(' ', position);
    if (position == std::string::npos) return -1;
    ++position;
  }
  return std::strtoll(stat.c_str() + position, nullptr, 10);
}

ProcessId identify(pid_t pid) { return {pid, process_start_ticks(pid), current_boot_id()}; }

bool is_running(const ProcessId& process) {
  if (process.pid <= 0 || process.start_ticks < 0) return false;
  if (process_start_ticks(process.pid) != process.start_ticks) return false;
  return process.boot_id.empty() || process.boot_id == current_boot_id();
}

bool signal_group(const ProcessId& process, int signal) {
  if (!is_running(process)) return false;
  return kill(-process.pid, signal) == 0;
}

int64_t oom_kill_count() {
  const std::string text = read_small_file("/proc/vmstat");
  const size_t position = text.find("oom_kill ");
  if (position == std::string::npos || (position > 0 && text[position - 1] != '\n')) return -1;
  return std::strtoll(text.c_str() + position + 9, nullptr, 10);
}

}  // namespace slipway::node
