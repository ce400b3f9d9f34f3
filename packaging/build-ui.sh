#!/usr/bin/env bash
# Builds the web console into ui/dist when its sources or the protos have changed. Called by make.
set -euo pipefail
cd "$(dirname "$0")/../ui"
[ -f package.json ] || { echo "ui: nothing to build yet"; exit 0; }
log=../build/ui.log
mkdir -p ../build
hash_of() { find "$@" -type f ! -path '*/gen/*' -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1; }
fail() { tail -n 30 "$log" >&2; echo "ui: error: $1 (log: build/ui.log)" >&2; exit 1; }

lock=$(hash_of package-lock.json package.json)
if [ "$(cat node_modules/.slipway-stamp 2>/dev/null)" != "$lock" ]; then
  echo "ui: installing npm packages"
  # Not npm ci: it refuses a lock without the entries of platforms that a registry mirror does not carry.
  npm install --no-save --no-audit --no-fund >"$log" 2>&1 || fail "npm install failed"
  echo "$lock" >node_modules/.slipway-stamp
fi
sources=$(hash_of src public index.html vite.config.ts package.json ../backend/proto 2>/dev/null)
if [ "$(cat dist/.slipway-stamp 2>/dev/null)" != "$sources" ]; then
  echo "ui: building the console"
  npm run build >"$log" 2>&1 || fail "npm run build failed"
  echo "$sources" >dist/.slipway-stamp
fi
echo "ui: the console is up to date"
