// What earlier processes on this workdir have said already, so that a resumed run says nothing twice. Used by
// trainer.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>

namespace slipway::train {

// Read from events.jsonl once, at the start. Steps that are computed again after a crash give the same numbers, so
// their events are left out.
struct RunHistory {
  int64_t last_train_step = -1;                // of a metric with `loss`
  int64_t last_eval_step = -1;                 // of a metric with `eval_loss`
  int64_t last_data_step = -1;                 // of a metric with `train_rows`
  int64_t last_progress = -1;                  // in phase train
  std::map<int64_t, std::string> checkpoints;  // step -> SHA-256
  std::set<std::string> artifacts;             // names
  std::set<std::string> warnings;              // code and message

  static RunHistory read(const std::filesystem::path& workdir);
};

}  // namespace slipway::train
