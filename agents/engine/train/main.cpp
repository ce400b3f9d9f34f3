// slipway-train: fine-tunes a language model, or tells what that will cost. See trainer.h and plan.h.
#include "agents/engine/spec/engine_main.h"
#include "agents/engine/train/environment.h"
#include "agents/engine/train/plan.h"
#include "agents/engine/train/trainer.h"

int main(int argc, char** argv) {
  slipway::train::prepare_process(argv);
  if (slipway::train::asks_for_plan(argc, argv)) return slipway::train::run_plan(argc, argv);
  return slipway::spec::run_engine(argc, argv, "train", slipway::train::run_training);
}
