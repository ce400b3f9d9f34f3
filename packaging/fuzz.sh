#!/usr/bin/env bash
# Builds every libFuzzer target with clang and runs each for SECONDS. Called by make fuzz: packaging/fuzz.sh SECONDS
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=$1
CC=clang CXX=clang++ cmake -S . -B build-fuzz -G Ninja -DSLIPWAY_FUZZ=ON -DSLIPWAY_BUILD_TRAIN=OFF -DSLIPWAY_BUILD_DESKTOP=OFF \
  -DCMAKE_BUILD_TYPE=Release >/dev/null
ninja -C build-fuzz fuzzers
for program in build-fuzz/fuzz/*; do
  [ -x "$program" ] || continue
  name=$(basename "$program")
  mkdir -p "build-fuzz/corpus/$name"
  echo "fuzz: $name for $seconds s"
  "$program" -max_total_time="$seconds" -rss_limit_mb=4096 -print_final_stats=0 -artifact_prefix="build-fuzz/$name-" \
    "build-fuzz/corpus/$name" >"build-fuzz/$name.log" 2>&1 || {
    tail -n 40 "build-fuzz/$name.log" >&2
    echo "fuzz: error: $name found a failure (input: build-fuzz/$name-*)" >&2
    exit 1
  }
done
