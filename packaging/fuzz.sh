#!/usr/bin/env bash
# Builds libFuzzer targets with clang and runs each for SECONDS, two at a time, always from the same seed. What they find on
# the way stays in build-fuzz/corpus and is where the next run begins. Called by make fuzz: packaging/fuzz.sh SECONDS [TARGET...]
# Without targets: all of them.
set -euo pipefail
cd "$(dirname "$0")/.."
CC=clang CXX=clang++ cmake -S . -B build-fuzz -G Ninja -DSLIPWAY_FUZZ=ON -DSLIPWAY_BUILD_TRAIN=OFF -DSLIPWAY_BUILD_DESKTOP=OFF \
  -DCMAKE_BUILD_TYPE=Release >/dev/null
seconds=$1
shift
ninja -C build-fuzz "${@:-fuzzers}"

run_one() { # PROGRAM SECONDS
  local name
  name=$(basename "$1")
  mkdir -p "build-fuzz/corpus/$name"
  if "$1" -seed=1 -max_total_time="$2" -rss_limit_mb=4096 -artifact_prefix="build-fuzz/$name-" "build-fuzz/corpus/$name" \
    >"build-fuzz/$name.log" 2>&1; then
    echo "fuzz: $name: $2 s without a failure"
  else
    tail -n 40 "build-fuzz/$name.log" >&2
    echo "fuzz: error: $name found a failure (input: build-fuzz/$name-*)" >&2
    return 1
  fi
}
export -f run_one
if [ $# -gt 0 ]; then printf 'build-fuzz/fuzz/%s\n' "$@"; else find build-fuzz/fuzz -maxdepth 1 -type f -executable | sort; fi |
  xargs -P 2 -I{} bash -c 'run_one {} '"$seconds"
