"""Every vocabulary that llama.cpp ships (but WordPiece, which is refused) encodes its test strings to the expected ids."""
import glob
import os

import pytest

from paths import VOCABULARIES
from tool import Tool, ToolError

FILES = sorted(path for path in glob.glob(os.path.join(VOCABULARIES, "ggml-vocab-*.gguf")) if os.path.exists(path + ".inp"))
UNSUPPORTED = {"bert-bge"}


def name_of(path):
    return os.path.basename(path)[len("ggml-vocab-"):-len(".gguf")]


@pytest.mark.parametrize("path", [path for path in FILES if name_of(path) not in UNSUPPORTED], ids=name_of)
def test_expected_ids(path):
    with open(path + ".inp", encoding="utf-8", newline="") as file:
        texts = file.read().split("\n__ggml_vocab_test__\n")
    with open(path + ".out", encoding="utf-8") as file:
        expected = [[int(token) for token in line.split()] for line in file.read().split("\n")]
    tool = Tool()
    tool("load", path=path)
    wrong = []
    for text, ids in zip(texts, expected):
        got = tool("encode", text=text, parse_special=False)
        if got != ids:
            wrong.append((text, ids, got))
    tool.close()
    assert len(texts) > 40 and not wrong, f"{len(wrong)} of {len(texts)}: {wrong[:3]}"


def test_word_piece_is_refused_with_what_is_known():
    tool = Tool()
    with pytest.raises(ToolError) as caught:
        tool("load", path=os.path.join(VOCABULARIES, "ggml-vocab-bert-bge.gguf"))
    tool.close()
    assert caught.value.code == "UNSUPPORTED" and "bert" in str(caught.value)
