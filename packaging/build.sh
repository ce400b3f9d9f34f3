#!/usr/bin/env bash
# Configures and builds one CMake preset. Called by make: packaging/build.sh PRESET [--configure-only]
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1
folder=build
[ "$preset" = release ] || folder=build-$preset
targets=()
[ "$preset" = cuda ] && targets=(slipway-train slipway_parquet)  # the one program that uses a GPU
if [ ! -f "$folder/build.ninja" ]; then
  mkdir -p "$folder"
  cmake --preset "$preset" >"$folder/configure.log" 2>&1 || { tail -n 30 "$folder/configure.log" >&2; echo "build: error: configuring failed (log: $folder/configure.log)" >&2; exit 1; }
fi
[ "${2:-}" = --configure-only ] && exit 0
start=$SECONDS
log=$folder/build.log
ninja -C "$folder" "${targets[@]}" >"$log" 2>&1 &
pid=$!
# A line now and then on a cold build.
while kill -0 "$pid" 2>/dev/null; do
  for _ in $(seq 40); do kill -0 "$pid" 2>/dev/null || break; sleep 0.5; done
  if kill -0 "$pid" 2>/dev/null; then
    echo "build: $(grep -o '^\[[0-9]*/[0-9]*\]' "$log" | tail -n 1) after $((SECONDS - start)) s"
  fi
done
if ! wait "$pid"; then
  grep -E 'FAILED|error' "$log" | head -n 40 >&2 || tail -n 40 "$log" >&2
  echo "build: error: ninja failed (log: $log)" >&2
  exit 1
fi
echo "build: $folder is up to date ($((SECONDS - start)) s)"
