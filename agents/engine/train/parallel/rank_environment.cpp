#include "agents/engine/train/parallel/rank_environment.h"

#include <charconv>
#include <cstdlib>
#include <string_view>

#include "backend/base/error.h"

namespace slipway::train {

namespace {

constexpr char kAdvice[] =
    "start with torchrun, or set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, or set none of them";

std::string text_of(const char* name) {
  const char* const text = std::getenv(name);
  return text == nullptr ? "" : text;
}

// A whole number in [lowest, highest].
int64_t number_of(const char* name, int64_t fallback, int64_t lowest, int64_t highest) {
  const std::string text = text_of(name);
  if (text.empty() && fallback >= 0) return fallback;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < lowest || value > highest) {
    throw base::Error(base::kInvalidSpec,
                      std::string("the environment variable ") + name + " is '" + text + "', not a number from " +
                          std::to_string(lowest) + " to " + std::to_string(highest),
                      kAdvice);
  }
  return value;
}

}  // namespace

std::string launch_notice() { return text_of(kNoticeVariable); }

std::optional<RankEnvironment> rank_environment() {
  constexpr int64_t kMostRanks = 65536;
  if (text_of("WORLD_SIZE").empty()) return std::nullopt;
  RankEnvironment e;
  e.size = number_of("WORLD_SIZE", -1, 1, kMostRanks);
  if (e.size == 1) return std::nullopt;
  e.rank = number_of("RANK", -1, 0, e.size - 1);
  e.local_rank = number_of("LOCAL_RANK", e.rank, 0, kMostRanks);
  e.master_host = text_of("MASTER_ADDR");
  if (e.master_host.empty())
    throw base::Error(base::kInvalidSpec, "the environment variable MASTER_ADDR is not set", kAdvice);
  e.master_port = static_cast<uint16_t>(number_of("MASTER_PORT", -1, 1, 65535));
  e.hosts_meeting = e.rank == 0 && text_of("TORCHELASTIC_USE_AGENT_STORE") != "True";
  if (const std::string count = text_of("TORCHELASTIC_RESTART_COUNT"); !count.empty())
    e.round = "slipway/" + count + "/";
  e.launched = !text_of(kLaunchedVariable).empty();
  return e;
}

int64_t gpu_of(const RankEnvironment& rank, int64_t gpus) {
  if (rank.local_rank < gpus) return rank.local_rank;
  const std::string there = std::to_string(gpus) + (gpus == 1 ? " GPU" : " GPUs");
  throw base::Error(base::kInvalidSpec,
                    "parallel.ranks: rank " + std::to_string(rank.rank) + " (LOCAL_RANK " +
                        std::to_string(rank.local_rank) + ") has no GPU of its own: this machine shows " + there,
                    "start at most " + std::to_string(gpus) + (gpus == 1 ? " rank" : " ranks") +
                        " here, or set training.device to cpu");
}

}  // namespace slipway::train
