"""Our tokenizers against Hugging Face's `tokenizers`, one thread each, on the same texts: megabytes per second and the
ratio. Needs build/tests/text_tool and the interpreter that packaging/setup.sh prepared:
  SLIPWAY_DEPS=~/.cache/slipway SLIPWAY_TESTS=build/tests ~/.cache/slipway/venv/bin/python tests/bench/tokenizer_speed.py
"""
import glob
import os
import sys
import tempfile
import time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "oracle", "text"))

from tokenizers import Tokenizer as HuggingFace  # noqa: E402

from paths import DEEPSEEK, SITE_PACKAGES, SMOLLM2, VOCABULARIES  # noqa: E402
from samples import texts  # noqa: E402
from tool import Tool  # noqa: E402

ROUNDS = 3
SIZE = 300_000


def corpora():
    """English prose, Python source, and many scripts: some hundred kilobytes each, from what is installed."""
    prose = "".join(open(path, encoding="utf-8", errors="replace").read() for path in sorted(glob.glob("/usr/share/perl/5.*/pod/*.pod")))
    source = "".join(open(path, encoding="utf-8").read() for path in sorted(glob.glob(SITE_PACKAGES + "/transformers/*.py")))
    return {"prose": prose[:SIZE], "code": source[:SIZE], "scripts": ("\n".join(texts(9000)))[:SIZE]}


def main():
    tool = Tool()
    samples = {name: text for name, text in corpora().items() if len(text) > 100_000}
    print(f"{'vocabulary':16} {'text':8} {'ours MB/s':>10} {'tokenizers':>10} {'times':>6}")
    for name in ["smollm2", "gpt-2", "llama-bpe", "qwen2", "deepseek", "llama-spm"]:
        with tempfile.TemporaryDirectory() as folder:
            if name == "deepseek":
                path = DEEPSEEK
            else:
                path = SMOLLM2 if name == "smollm2" else os.path.join(VOCABULARIES, f"ggml-vocab-{name}.gguf")
            tool("load", path=path)
            tool("save", path=folder)
            reference = HuggingFace.from_file(os.path.join(folder, "tokenizer.json"))
            for kind, text in samples.items():
                if name == "llama-spm":
                    text = text[:100_000]  # one word to the reference, whose time grows faster than the text
                size = len(text.encode())
                ours = tool("measure", text=text, rounds=ROUNDS)
                theirs = []
                for _ in range(ROUNDS if name != "llama-spm" else 2):
                    begin = time.perf_counter()
                    ids = reference.encode(text, add_special_tokens=False).ids
                    theirs.append(time.perf_counter() - begin)
                same = "" if tool("encode", text=text) == ids else "  ids differ!"
                print(f"{name:16} {kind:8} {size / ours / 1e6:10.1f} {size / min(theirs) / 1e6:10.1f} {min(theirs) / ours:6.1f}{same}")
    tool.close()


if __name__ == "__main__":
    main()
