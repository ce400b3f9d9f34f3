#!/usr/bin/env bash
# The main job end to end, on a throwaway data folder: import a model and data, fine-tune, evaluate, deploy, ask. Called by
# make demo. Ends with the figures; fails when the tuned model is not better. Stops all that it started, always.
set -euo pipefail
started=$(date +%s%3N)
say() { printf 'demo: %s\n' "$*"; }
fail() { printf 'demo: error: %s\n' "$*" >&2; exit 1; }
source "$(dirname "$0")/stack.sh"

data=$(mktemp -d "${TMPDIR:-/tmp}/slipway-demo-XXXXXX")
export SLIPWAY_CONFIG=$data/config.json
unset SLIPWAY_TOKEN SLIPWAY_BACKEND
finish() {
  local status=$?
  trap - EXIT INT TERM
  stop_stack
  if [ "$status" = 0 ]; then
    rm -rf "$data"
  else
    local log
    for log in "$data"/logs/*.log; do
      [ -s "$log" ] || continue
      printf '\n--- the end of %s ---\n' "$log" >&2
      tail -n 15 "$log" >&2
    done
    printf '\ndemo: error: it stopped at: %s (exit status %s). Logs and data: %s\n' "${at:-the start}" "$status" "$data" >&2
  fi
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

run_workflow() {
  # Small enough for two slow cores; every value is a flag of the workflow.
  "$slipway" run start fine-tune-and-deploy --model smollm2 --dataset perlfaq --watch \
    --max-steps "${SLIPWAY_DEMO_STEPS:-30}" --learning-rate 5e-4 --validation-share 0.04 --max-length 192 --per-device-train-batch-size 2 \
    --eval-steps 0 --save-steps 10 --output-model perl-helper --deployment perl-helper
}
wait_for_deployment() { "$slipway" deployment show perl-helper --wait --timeout 120 >/dev/null; }
ask_both() {
  key=$("$slipway" deployment key perl-helper --name demo)
  "$python3" "$root/packaging/demo_report.py" ask --url "$console" --deployment "$("$slipway" --json deployment show perl-helper)" \
    --question "$data/kept-back.json" --output "$data/answers.json" <<<"$key"
}

run_step() { at=$1; step "$@"; }
check_parts
run_step "Start slipwayd and slipway-agent" start_stack 127.0.0.1:0 127.0.0.1:0
say "console: $console"
run_step "Make the administrator and sign in" sign_in
run_step "Wait for the agent to join" wait_for_node
run_step "Import SmolLM2-135M-Instruct" import_model
run_step "Make the perlfaq data set" make_dataset
run_step "Import the data set" import_dataset
run_step "Run the workflow 'Fine-tune and deploy'" run_workflow
run_step "Wait until the deployment is ready" wait_for_deployment
run_step "Ask base and tuned model over the OpenAI API" ask_both
at="the report"
"$slipway" --json run show latest >"$data/run.json"
"$python3" "$root/packaging/demo_report.py" report --run "$data/run.json" --answers "$data/answers.json"
printf '\nTime of each step\n'
print_steps
printf '  %-52s %8s s\n' "in all" "$(awk -v ms=$(($(now_ms) - started)) 'BEGIN { printf "%.1f", ms / 1000 }')"
printf '\nThe console was at %s while the demo ran. To keep it running: make up\n' "$console"
