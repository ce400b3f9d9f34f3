// slipway-eval: measures a model, with or without an adapter, on held-out data.
#include "agents/engine/eval/eval.h"
#include "agents/engine/spec/engine_main.h"

int main(int argc, char** argv) { return slipway::spec::run_engine(argc, argv, "eval", slipway::eval::run_eval); }
