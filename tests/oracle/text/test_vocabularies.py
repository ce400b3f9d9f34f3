"""Every vocabulary that llama.cpp ships (but WordPiece, which is refused) encodes its test strings to the expected ids."""
import glob
import os

import pytest

from paths import VOCABULARIES
from tool import Tool, ToolError

FILES = sorted(path for path in glob.glob(os.path.join(VOCABULARIES, "ggml-vocab-*.gguf")) if os.path.exists(path + ".inp"))
UNSUPPORTED = {"bert-bge"}
NOT_WRITTEN = {"gemma-4"}  # split by a rule of its own: refused


def name_of(path):
    return os.path.basename(path)[len("ggml-vocab-"):-len(".gguf")]


def samples(path):
    """The test strings of a vocabulary and the ids that llama.cpp expects."""
    with open(path + ".inp", encoding="utf-8", newline="") as file:
        texts = file.read().split("\n__ggml_vocab_test__\n")
    with open(path + ".out", encoding="utf-8") as file:
        ids = [[int(token) for token in line.split()] for line in file.read().split("\n")]
    assert len(texts) > 40
    return list(zip(texts, ids))


def assert_expected(tool, path):
    wrong = []
    for text, ids in samples(path):
        got = tool("encode", text=text, parse_special=False)
        if got != ids:
            wrong.append((text, ids, got))
    assert not wrong, f"{len(wrong)}: {wrong[:3]}"


PATHS = [path for path in FILES if name_of(path) not in UNSUPPORTED]


@pytest.mark.parametrize("path", PATHS, ids=name_of)
def test_expected_ids(path):
    tool = Tool()
    tool("load", path=path)
    assert_expected(tool, path)
    tool.close()


@pytest.mark.parametrize("path", [path for path in PATHS if name_of(path) not in NOT_WRITTEN], ids=name_of)
def test_written_as_gguf_the_ids_are_the_same(tmp_path, path):
    tool = Tool()
    tool("load", path=path)
    tool("save_gguf", path=str(tmp_path / "written.gguf"))
    tool("load", path=str(tmp_path / "written.gguf"))
    assert_expected(tool, path)
    tool.close()


def test_what_gguf_cannot_say_is_not_written(tmp_path):
    tool = Tool()
    tool("load", path=os.path.join(VOCABULARIES, "ggml-vocab-gemma-4.gguf"))
    with pytest.raises(ToolError) as caught:
        tool("save_gguf", path=str(tmp_path / "written.gguf"))
    tool.close()
    assert caught.value.code == "UNSUPPORTED" and not (tmp_path / "written.gguf").exists()


def test_word_piece_is_refused_with_what_is_known():
    tool = Tool()
    with pytest.raises(ToolError) as caught:
        tool("load", path=os.path.join(VOCABULARIES, "ggml-vocab-bert-bge.gguf"))
    tool.close()
    assert caught.value.code == "UNSUPPORTED" and "bert" in str(caught.value)
