// slipway-train: fine-tunes a language model. See trainer.h.
#include "agents/engine/spec/engine_main.h"
#include "agents/engine/train/environment.h"
#include "agents/engine/train/trainer.h"

int main(int argc, char** argv) {
  slipway::train::prepare_process(argv);
  return slipway::spec::run_engine(argc, argv, "train", slipway::train::run_training);
}
