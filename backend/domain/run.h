// What happens next in a run: a pure function of its tasks' states. service/ carries the decisions out in the
// transaction that made the states.
#pragma once

#include <string>
#include <vector>

#include "backend/domain/states.h"

namespace slipway::domain {

// A task that an engine does has attempts; one that the backend does (gate, register, deploy) is done at once.
enum class TaskDoer { kEngine, kBackend };

struct TaskFacts {
  std::string name;
  TaskDoer doer = TaskDoer::kEngine;
  TaskState state = TaskState::kPending;
  std::vector<std::string> needs;
};

struct RunFacts {
  RunState state = RunState::kQueued;
  std::vector<TaskFacts> tasks;
};

struct Decision {
  enum class Kind {
    kQueueTask,    // make an attempt: all that it needs is there
    kDoTask,       // the backend's own work, now
    kSkipTask,     // `because`: the task that keeps it from running
    kCancelTask,   // it has no running attempt: it is cancelled at once
    kStopTask,     // ask its running attempt to save and leave
    kSetRunState,  // to `run_state`
  };
  Kind kind;
  std::string task;
  std::string because;
  RunState run_state = RunState::kQueued;

  bool operator==(const Decision&) const = default;
};

// All that follows from the states, in order; empty when there is nothing to do now. Applying the decisions and calling
// again gives nothing new, except after a kDoTask, whose result is a new state.
std::vector<Decision> advance_run(const RunFacts& run);

// What an attempt's end means for its task.
struct TaskResult {
  TaskState state;    // kPending: it is tried again, with a new attempt
  bool lost = false;  // counts against the tries after a loss
};
inline constexpr int kTriesAfterLoss = 3;
// losses: how many attempts of the task were lost or stopped without having been asked, this one included.
TaskResult after_attempt(AttemptState end, bool stop_was_asked, int losses);

// For a retry: what failed, was cancelled or skipped is pending again; what succeeded keeps its state.
TaskState retried(TaskState state);

}  // namespace slipway::domain
