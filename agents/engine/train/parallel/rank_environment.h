// Which of a job's ranks this process is, from the environment variables that torchrun sets. Used by main.cpp,
// trainer.cpp, prepare.cpp and launcher.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace slipway::train {

struct RankEnvironment {
  int64_t rank = 0, size = 1, local_rank = 0;
  std::string master_host;  // where the ranks meet
  uint16_t master_port = 0;
  bool hosts_meeting = false;  // this rank opens the port, as rank 0 does unless a launcher has done it
  bool launched = false;       // by slipway-train itself, which goes on without a lost rank
  std::string round;           // of torchrun's restarts, which share one store
};

// What the launcher has to say, also to a rank that is left alone; empty: nothing.
std::string launch_notice();

// Nothing where there is one rank. Throws base::Error INVALID_SPEC for variables that make no sense.
std::optional<RankEnvironment> rank_environment();

// Which of this machine's `gpus` is the rank's own. Throws base::Error INVALID_SPEC where there are fewer than ranks:
// two that share one would wait for each other for ever.
int64_t gpu_of(const RankEnvironment& rank, int64_t gpus);

// The error's code when another rank is lost.
inline constexpr char kRankLost[] = "RANK_LOST";

// The exit status of a rank that its launcher started, when another rank was lost.
inline constexpr int kExitRankLost = 75;

// Names of the launcher's own variables.
inline constexpr char kLaunchedVariable[] = "SLIPWAY_TRAIN_LAUNCHED";
inline constexpr char kNoticeVariable[] = "SLIPWAY_TRAIN_NOTICE";

}  // namespace slipway::train
