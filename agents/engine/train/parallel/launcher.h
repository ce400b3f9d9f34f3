// Starts the ranks of a job on this machine as processes of their own, and again from the last checkpoint when one is
// lost. Used by main.cpp.
#pragma once

namespace slipway::train {

// Whether the spec in these arguments asks for several ranks that nobody has started yet. A spec that cannot be read
// is left to the engine's own errors.
bool asks_for_ranks(int argc, char** argv);

// Runs them to the end. Returns the exit status of the engine contract.
int run_launcher(int argc, char** argv);

// A rank other than 0: the same work, with events that nobody reads. Returns its exit status.
int run_follower(int argc, char** argv);

}  // namespace slipway::train
