// slipway-train: fine-tunes a language model, or tells what that will cost. See training.h, plan.h and
// parallel/launcher.h.
#include <cstdio>

#include "agents/engine/spec/engine_main.h"
#include "agents/engine/train/environment.h"
#include "agents/engine/train/parallel/launcher.h"
#include "agents/engine/train/parallel/rank_environment.h"
#include "agents/engine/train/plan.h"
#include "agents/engine/train/training.h"
#include "backend/base/error.h"

int main(int argc, char** argv) {
  using namespace slipway;
  train::prepare_process(argv);
  if (train::asks_for_ranks(argc, argv)) return train::run_launcher(argc, argv);
  if (train::asks_for_plan(argc, argv)) return train::run_plan(argc, argv);
  try {
    if (const auto ranks = train::rank_environment(); ranks && ranks->rank > 0) return train::run_follower(argc, argv);
  } catch (const base::Error& error) {
    std::fprintf(stderr, "slipway-train: %s: %s\nslipway-train: %s\n", error.code().c_str(), error.what(),
                 error.advice().c_str());
    return spec::kExitWrongSpec;
  }
  return spec::run_engine(argc, argv, "train", train::run_training);
}
