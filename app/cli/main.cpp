// slipway: the command line client.
#include "app/cli/commands.h"

int main(int argc, char** argv) { return slipway::cli::run_command_line(argc, argv); }
