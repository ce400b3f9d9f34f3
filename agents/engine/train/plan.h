// What a job will cost, told in advance: slipway-train --spec S --workdir D --plan. Used by main.cpp.
#pragma once

namespace slipway::train {

// Computes two real steps of the job, with as many ranks as the job has, writes nothing to the workdir, and prints one
// JSON object on standard output: total_steps, steps_per_epoch, train_rows, train_tokens, tokens_per_second,
// seconds_per_step, duration_s, ranks, peak_memory_bytes (of the largest rank), available_memory_bytes (to all), fits,
// advice. Returns the exit status; errors go to standard error.
int run_plan(int argc, char** argv);

// Whether the arguments ask for it.
bool asks_for_plan(int argc, char** argv);

}  // namespace slipway::train
