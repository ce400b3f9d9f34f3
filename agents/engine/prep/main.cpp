// slipway-prep: reads rows, cleans, deduplicates and splits them.
#include "agents/engine/prep/prep.h"
#include "agents/engine/spec/engine_main.h"

int main(int argc, char** argv) { return slipway::spec::run_engine(argc, argv, "prep", slipway::prep::run_prep); }
