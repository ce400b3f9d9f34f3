#include "backend/domain/run.h"

#include <map>

namespace slipway::domain {
namespace {

bool stands_in_the_way(TaskState state) {
  return state == TaskState::kFailed || state == TaskState::kCancelled || state == TaskState::kSkipped;
}

// Carries decisions about tasks into `states`, so that what follows from them follows in the same call.
class Advance {
 public:
  explicit Advance(const RunFacts& run) : run_(run) {
    for (const TaskFacts& task : run.tasks) states_[task.name] = task.state;
  }

  std::vector<Decision> decide() {
    if (is_final(run_.state)) return {};
    const bool cancelling = run_.state == RunState::kCancelling;
    // Needs may be listed in any order: repeat until nothing changes, at most once per task.
    for (bool changed = true; changed;) {
      changed = false;
      for (const TaskFacts& task : run_.tasks) {
        if (cancelling ? cancel(task) : go_on(task)) changed = true;
      }
    }
    decide_run_state(cancelling);
    return std::move(decisions_);
  }

 private:
  bool go_on(const TaskFacts& task) {
    if (states_[task.name] != TaskState::kPending) return false;
    bool ready = true;
    for (const std::string& need : task.needs) {
      const TaskState state = states_[need];
      if (stands_in_the_way(state)) {
        add({Decision::Kind::kSkipTask, task.name, need}, TaskState::kSkipped);
        return true;
      }
      ready = ready && state == TaskState::kSucceeded;
    }
    if (!ready) return false;
    if (task.doer == TaskDoer::kEngine) {
      add({Decision::Kind::kQueueTask, task.name, ""}, TaskState::kQueued);
    } else {
      add({Decision::Kind::kDoTask, task.name, ""}, TaskState::kRunning);
    }
    return true;
  }

  bool cancel(const TaskFacts& task) {
    switch (states_[task.name]) {
      case TaskState::kPending:
      case TaskState::kQueued:
        add({Decision::Kind::kCancelTask, task.name, ""}, TaskState::kCancelled);
        return true;
      case TaskState::kRunning:
        if (!stopping_[task.name]) decisions_.push_back({Decision::Kind::kStopTask, task.name, ""});
        stopping_[task.name] = true;
        return false;
      default:
        return false;
    }
  }

  void decide_run_state(bool cancelling) {
    bool all_final = true, all_succeeded = true, any_failed = false, any_begun = false, any_cancelled = false;
    for (const TaskFacts& task : run_.tasks) {
      const TaskState state = states_[task.name];
      all_final = all_final && is_final(state);
      all_succeeded = all_succeeded && state == TaskState::kSucceeded;
      any_failed = any_failed || state == TaskState::kFailed;
      any_cancelled = any_cancelled || state == TaskState::kCancelled;
      any_begun = any_begun || state == TaskState::kRunning || state == TaskState::kSucceeded;
    }
    RunState next = run_.state;
    if (all_final) {
      if (all_succeeded) {
        next = RunState::kSucceeded;
      } else if (cancelling || (any_cancelled && !any_failed)) {
        next = RunState::kCancelled;
      } else {
        next = RunState::kFailed;
      }
    } else if (run_.state == RunState::kQueued && any_begun) {
      next = RunState::kRunning;
    }
    if (next != run_.state) decisions_.push_back({Decision::Kind::kSetRunState, "", "", next});
  }

  void add(Decision decision, TaskState state) {
    states_[decision.task] = state;
    decisions_.push_back(std::move(decision));
  }

  const RunFacts& run_;
  std::map<std::string, TaskState> states_;
  std::map<std::string, bool> stopping_;
  std::vector<Decision> decisions_;
};

}  // namespace

std::vector<Decision> advance_run(const RunFacts& run) { return Advance(run).decide(); }

TaskResult after_attempt(AttemptState end, bool stop_was_asked, int losses) {
  switch (end) {
    case AttemptState::kSucceeded:
      return {TaskState::kSucceeded};
    case AttemptState::kFailed:
      return {stop_was_asked ? TaskState::kCancelled : TaskState::kFailed};
    case AttemptState::kStopped:
    case AttemptState::kLost:
      if (stop_was_asked) return {TaskState::kCancelled};
      return {losses > kTriesAfterLoss ? TaskState::kFailed : TaskState::kPending, true};
    default:
      return {TaskState::kRunning};
  }
}

TaskState retried(TaskState state) { return stands_in_the_way(state) ? TaskState::kPending : state; }

}  // namespace slipway::domain
