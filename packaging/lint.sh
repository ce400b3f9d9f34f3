#!/usr/bin/env bash
# The lints that are no tests: formatting, and the console's types and import edges. Called by make lint; --fix formats.
set -euo pipefail
cd "$(dirname "$0")/.."
mapfile -t sources < <(git ls-files '*.cpp' '*.h' '*.cu' '*.cuh')
if [ "${1:-}" = --fix ]; then
  clang-format -i "${sources[@]}"
  exit 0
fi
clang-format --dry-run --Werror "${sources[@]}" 2>build/format.log || {
  head -n 20 build/format.log >&2
  echo "lint: error: the files above are not formatted; run: make format" >&2
  exit 1
}
echo "lint: ${#sources[@]} C++ files are formatted"
(cd ui && npm run --silent check >../build/ui-check.log 2>&1) || {
  tail -n 40 build/ui-check.log >&2
  echo "lint: error: the console's check failed (npm run check in ui/)" >&2
  exit 1
}
echo "lint: the console's types and import edges hold"
