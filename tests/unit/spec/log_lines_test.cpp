#include "agents/engine/spec/log_lines.h"

#include <gtest/gtest.h>

#include <fstream>

namespace slipway::spec {
namespace {

using nlohmann::ordered_json;

TEST(LogLines, SayEachEventOfTheContractInOneReadableLine) {
  LogLines lines;
  std::string log;
  std::ifstream file(std::string(SLIPWAY_SOURCE_DIR) + "/tests/unit/spec/contracts/events.jsonl");
  for (std::string line; std::getline(file, line);) log += lines.line_of(ordered_json::parse(line), 0) + "\n";
  EXPECT_EQ(log,
            "slipway-train 0.1.0 started, pid 4242\n"
            "tokenize: begin\n"
            "train: 10 of 300 step, 2 min 21 s left\n"
            "step 10: loss 2.113, learning_rate 0.0002, grad_norm 0.81, tokens_per_second 512.4, tokens 20480, "
            "peak_memory 2048 MiB\n"
            "step 20: eval_loss 2.01, eval_perplexity 7.463\n"
            "checkpoint of step 20: checkpoints/step-20\n"
            "wrote adapter: out/adapter\n"
            "ready: http://127.0.0.1:8080\n"
            "error OUT_OF_MEMORY: step 12 needed 1.2 GiB more than the 4.0 GiB free -> set "
            "per_device_train_batch_size to 2 and gradient_accumulation_steps to 2\n"
            "finished: succeeded\n");
}

ordered_json progress(int done) {
  return {{"time", "2026-01-31T12:00:00.000Z"},
          {"type", "progress"},
          {"phase", "train"},
          {"done", done},
          {"total", 9},
          {"unit", "step"}};
}

TEST(LogLines, SayProgressNowAndThenAndWhenItIsComplete) {
  LogLines lines;
  EXPECT_FALSE(lines.line_of(progress(1), 10'000).empty());
  EXPECT_TRUE(lines.line_of(progress(2), 14'999).empty());
  EXPECT_FALSE(lines.line_of(progress(3), 15'000).empty());
  EXPECT_FALSE(lines.line_of(progress(9), 15'001).empty());
}

TEST(LogLines, StayOneLineWhateverAMessageHolds) {
  LogLines lines;
  const ordered_json event = {
      {"time", "2026-01-31T12:00:00.000Z"}, {"type", "warning"}, {"code", "W"}, {"message", "a\nb"}, {"advice", ""}};
  EXPECT_EQ(lines.line_of(event, 0), "warning W: a b");
}

TEST(LogLines, LeaveHeartbeatsOut) {
  EXPECT_EQ(LogLines().line_of({{"time", "2026-01-31T12:00:00.000Z"}, {"type", "heartbeat"}, {"step", 1}}, 0), "");
}

}  // namespace
}  // namespace slipway::spec
