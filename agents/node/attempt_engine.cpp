// An attempt's engine while it runs: launched, watched, stopped, started again after a crash, judged by how it left.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <string>
#include <utility>

#include "agents/node/attempt.h"
#include "agents/node/engine_events.h"
#include "agents/node/steady_clock.h"

namespace slipway::node {
namespace {

namespace fs = std::filesystem;
using v1::AttemptStatus;

constexpr int64_t kSupervisorPatienceMs = 2'000;

}  // namespace

void Attempt::launch() {
  LaunchPlan plan;
  const auto& start = record_.start;
  const fs::path program = environment_.engines / ("slipway-" + start.engine());
  plan.arguments = {program.string(), "--spec", spec_path(), "--workdir", workdir_.string()};
  if (start.plan()) plan.arguments.emplace_back("--plan");
  plan.workdir = workdir_;
  plan.memory_bytes = start.limits().memory_bytes();
  plan.niceness = start.engine() == "serve" ? 0 : 5;  // work in batches gives way to people who wait
  if (start.has_gang()) add_rank_variables(plan.environment);
  // Ranks of one gang share the node's cores.
  const int cores = start.has_gang() ? std::max(1, environment_.cores / std::max(1, start.gang().local_size())) : 0;
  if (const int most = start.limits().threads() > 0 ? start.limits().threads() : cores; most > 0) {
    const std::string threads = std::to_string(most);
    for (const char* name : {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"}) {
      plan.environment[name] = threads;
    }
  }
  plan.environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID";
  plan.environment["CUDA_VISIBLE_DEVICES"] = start.device().rfind("gpu", 0) == 0 ? start.device().substr(3) : "";

  ++record_.launches;
  record_.restart_pending = false;
  enter(Phase::kRunning);  // on disk before the engine can be
  const auto launched = environment_.supervisor.launch(folder_, record_.launches, plan);
  if (!launched.ok()) {
    return fail("ENGINE_NOT_STARTED",
                "slipway-" + start.engine() + " could not be started: " + std::string(launched.message()),
                "check the node's installation and free memory, then retry");
  }
  spdlog::info("engine launched attempt={} engine={} launch={}", id_, start.engine(), record_.launches);
}

// Those that torchrun sets. Each rank sees its own device alone, so it is the first of its kind.
void Attempt::add_rank_variables(std::map<std::string, std::string>& environment) const {
  const size_t colon = record_.meeting.rfind(':');
  environment["RANK"] = std::to_string(record_.start.gang().rank());
  environment["WORLD_SIZE"] = std::to_string(record_.start.gang().size());
  environment["LOCAL_RANK"] = "0";
  environment["MASTER_ADDR"] = record_.meeting.substr(0, colon);
  environment["MASTER_PORT"] = record_.meeting.substr(colon + 1);
}

void Attempt::step_running() {
  if (record_.restart_pending) {  // after a crash
    if (record_.stop_requested) {
      AttemptStatus outcome;
      outcome.set_state(AttemptStatus::STATE_STOPPED);
      return end(std::move(outcome));
    }
    if (steady_ms() >= launch_after_ms_) launch();
    return;
  }
  if (const auto exit = Supervisor::exited(folder_, record_.launches)) return engine_ended(*exit);
  const auto engine = Supervisor::started(folder_, record_.launches);
  if (!Supervisor::supervised(folder_) && !(engine && is_running(*engine))) {
    // Neither supervisor nor engine. The supervisor may have written its last file a moment ago: looked at once more.
    if (unsupervised_since_ms_ == 0) unsupervised_since_ms_ = steady_ms();
    if (const auto exit = Supervisor::exited(folder_, record_.launches)) return engine_ended(*exit);
    if (steady_ms() - unsupervised_since_ms_ > kSupervisorPatienceMs) return engine_vanished();
    return;
  }
  unsupervised_since_ms_ = 0;
  if (record_.stop_requested && engine) stop_engine();
}

void Attempt::step_parking() {
  if (record_.phase == Phase::kRunning && !record_.restart_pending) {
    const auto exit = Supervisor::exited(folder_, record_.launches);
    if (!exit) {
      if (Supervisor::supervised(folder_)) {
        const auto engine = Supervisor::started(folder_, record_.launches);
        if (engine && stop_signalled_at_ms_ == 0) {
          stop_signalled_at_ms_ = steady_ms();
          signal_group(*engine, SIGTERM);
        }
        return;
      }
    } else if (exit->exit_code == 143 || exit->signal != 0 || record_.start.engine() == "serve") {
      record_.restart_pending = true;  // not a crash: does not count
      save();
    }  // else it ended by itself in this moment: the next agent takes the outcome from exit-N.json
  }
  {
    const std::lock_guard lock(mutex_);
    parked_ = true;
  }
  parked_changed_.notify_all();
}

void Attempt::stop_engine() {
  const auto engine = Supervisor::started(folder_, record_.launches);
  const int64_t now = steady_ms();
  if (stop_signalled_at_ms_ == 0) {
    stop_signalled_at_ms_ = now;
    spdlog::info("engine asked to stop attempt={} grace_seconds={}", id_, record_.grace_seconds);
    signal_group(*engine, SIGTERM);
  } else if (now - stop_signalled_at_ms_ > record_.grace_seconds * int64_t{1000} && now - killed_at_ms_ > 1000) {
    if (killed_at_ms_ == 0) {
      note("the engine did not leave within " + std::to_string(record_.grace_seconds) + " s and is killed");
    }
    killed_at_ms_ = now;
    signal_group(*engine, SIGKILL);
  }
}

void Attempt::engine_vanished() {
  unsupervised_since_ms_ = 0;
  if (!Supervisor::started(folder_, record_.launches))
    return launch();  // the agent died before it could start anything
  EngineExit exit;
  // Its supervisor is gone too, so nobody saw the exit status. What the engine itself wrote last decides.
  if (summarize_events(workdir_ / "events.jsonl", 0).finished != "succeeded") exit.signal = SIGKILL;
  engine_ended(exit);
}

void Attempt::engine_ended(const EngineExit& exit) {
  spdlog::info("engine ended attempt={} exit_code={} signal={}", id_, exit.exit_code, exit.signal);
  const std::string program = "slipway-" + record_.start.engine();
  if (!exit.launch_error.empty()) {
    return fail("ENGINE_NOT_STARTED", "could not start " + exit.launch_error,
                "install " + program + " beside slipway-agent, or name its folder with --engines", exit);
  }
  const bool left_cleanly = exit.signal == 0 && exit.exit_code == 0;
  if (left_cleanly && !(record_.stop_requested && record_.start.engine() == "serve")) return enter(Phase::kUploading);
  if (record_.stop_requested && (left_cleanly || exit.signal != 0 || exit.exit_code == 143)) {
    AttemptStatus outcome;
    outcome.set_state(AttemptStatus::STATE_STOPPED);
    outcome.set_signal(exit.signal);
    if (exit.signal == 0) outcome.set_exit_code(exit.exit_code);
    add_returned_files(outcome);
    return end(std::move(outcome));
  }
  if (exit.signal != 0) {
    const std::string what = "the engine was ended by signal " + std::to_string(exit.signal) + " (" +
                             strsignal(exit.signal) + ")" +
                             (exit.out_of_memory ? ": the machine ran out of memory" : "");
    if (restart_after(what)) return;
    if (exit.out_of_memory) {
      return fail("OUT_OF_MEMORY", what, "use a smaller batch or max_length, or a node with more memory, then retry",
                  exit);
    }
    return fail("ENGINE_KILLED", what, "look at the log's last lines; retry goes on from the last checkpoint", exit);
  }
  if (exit.exit_code == 143 && restart_after("the engine was stopped by somebody else (SIGTERM) and saved its work"))
    return;
  if (summarize_events(workdir_ / "events.jsonl", record_.files["events"].begin).error_since) {
    return fail("", "", "", exit);  // the engine's own error event says why
  }
  const std::string last = last_line(workdir_ / "stderr.log", record_.files["stderr"].begin);
  fail("ENGINE_FAILED",
       program + " left with status " + std::to_string(exit.exit_code) + (last.empty() ? "" : ": " + last),
       "look at the log; the exact spec can be run by hand with " + program + " --spec", exit);
}

bool Attempt::restart_after(const std::string& what_happened) {
  if (record_.restarts_used >= record_.start.restarts()) return false;
  ++record_.restarts_used;
  record_.restart_pending = true;
  launch_after_ms_ = steady_ms() + std::min<int64_t>(10'000, int64_t{100} << std::min(record_.restarts_used, 10));
  save();
  note(what_happened + "; it is started again from its last checkpoint (" + std::to_string(record_.restarts_used) +
       " of " + std::to_string(record_.start.restarts()) + ")");
  return true;
}

}  // namespace slipway::node
