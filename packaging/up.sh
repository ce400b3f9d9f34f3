#!/usr/bin/env bash
# Starts Slipway on this machine and leaves it running, with SmolLM2, the perlfaq data and a first run in it. Called by
# make up. Can be called again: what is there already stays. Data folder: SLIPWAY_DATA, default ~/.local/share/slipway.
set -euo pipefail
say() { printf 'up: %s\n' "$*"; }
fail() { printf 'up: error: %s\n' "$*" >&2; exit 1; }
source "$(dirname "$0")/stack.sh"

data=${SLIPWAY_DATA:-${XDG_DATA_HOME:-$HOME/.local/share}/slipway}
mkdir -p "$data"
unset SLIPWAY_TOKEN SLIPWAY_BACKEND
at="the start"
finish() {
  local status=$?
  trap - EXIT
  [ "$status" = 0 ] || printf 'up: error: it stopped at: %s (exit status %s). Logs: %s\n' "$at" "$status" "$data/logs" >&2
  exit "$status"
}
trap finish EXIT

# The usual ports, or any free ones when something else listens there.
port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
web=127.0.0.1:7878
grpc=127.0.0.1:7879
port_is_free 7878 || web=127.0.0.1:0
port_is_free 7879 || grpc=127.0.0.1:0

run_step() { at=$1; step "$@"; }
check_parts
run_step "Start slipwayd and slipway-agent" start_stack "$web" "$grpc"
run_step "Sign in" sign_in
run_step "Wait for the agent to join" wait_for_node
if ! "$slipway" model show smollm2 >/dev/null 2>&1; then
  run_step "Import SmolLM2-135M-Instruct" import_model
fi
if ! "$slipway" dataset show perlfaq >/dev/null 2>&1; then
  run_step "Make the perlfaq data set" make_dataset
  run_step "Import the data set" import_dataset
fi
if ! "$slipway" run show latest >/dev/null 2>&1; then
  run_step "Start a first run of 'Fine-tune and deploy'" "$slipway" run start fine-tune-and-deploy --model smollm2 \
    --dataset perlfaq --max-steps 60 --output-model perl-helper --deployment perl-helper --name "First run"
fi
cat <<TEXT

Slipway is running.
  Console:   $console
  Sign in:   user $user, password $password   (also in $data/admin-password)
  Command:   $slipway run watch latest
  Stop it:   $slipway down --data $data
TEXT
