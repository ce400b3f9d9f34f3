"""The tokenizer against Hugging Face `tokenizers` and AutoTokenizer: the same ids, the same text back."""
import json
import os
import shutil
import unicodedata

import pytest
from tokenizers import Tokenizer as HuggingFace, pre_tokenizers

from paths import DEEPSEEK, MISTRAL, SMOLLM2, VOCABULARIES
from samples import texts
from tool import Tool, ToolError


@pytest.fixture()
def tool():
    instance = Tool()
    yield instance
    instance.close()


def assert_same(tool, reference, samples):
    for text in samples:
        for parse_special in (True, False):
            reference.encode_special_tokens = not parse_special
            for add_special in (True, False):
                expected = reference.encode(text, add_special_tokens=add_special).ids
                got = tool("encode", text=text, add_special=add_special, parse_special=parse_special)
                assert got == expected, (text, add_special, parse_special)
        for skip in (True, False):
            ids = reference.encode(text).ids
            expected = reference.decode(ids, skip_special_tokens=skip)
            assert tool("decode", ids=ids, skip_special=skip) == expected, text
            assert "".join(tool("stream", ids=ids, skip_special=skip)) == expected, text


def exported(tool, source, folder):
    info = tool("load", path=source)
    tool("save", path=str(folder), model_max_length=2048)
    return info


def test_deepseek_tokenizer_json(tool):
    tool("load", path=DEEPSEEK)
    assert_same(tool, HuggingFace.from_file(os.path.join(DEEPSEEK, "tokenizer.json")), texts(250))


GGUF = ["llama-bpe", "qwen2", "gpt-2", "falcon", "deepseek-llm", "deepseek-coder", "starcoder", "command-r", "llama-spm", "phi-3",
        "gpt-neox", "mpt", "refact", "aquila", "baichuan", "qwen35", "gemma-4", "nomic-bert-moe"]


@pytest.mark.parametrize("name", ["smollm2"] + GGUF)
def test_gguf_exported_to_hugging_face(tool, tmp_path, name):
    source = SMOLLM2 if name == "smollm2" else os.path.join(VOCABULARIES, f"ggml-vocab-{name}.gguf")
    exported(tool, source, tmp_path)
    reference = HuggingFace.from_file(str(tmp_path / "tokenizer.json"))
    assert_same(tool, reference, texts(250 if name == "smollm2" else 90))


def test_export_is_loaded_by_auto_tokenizer_and_read_back(tool, tmp_path):
    from transformers import AutoTokenizer
    info = exported(tool, SMOLLM2, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    auto = AutoTokenizer.from_pretrained(str(tmp_path))
    assert auto.chat_template == info["chat_template"] != ""
    assert (auto.bos_token_id, auto.eos_token_id, auto.pad_token_id) == (info["bos"], info["eos"], info["pad"]) == (1, 2, 2)
    assert auto.model_max_length == 2048
    for text in texts(120):
        assert auto(text)["input_ids"] == tool("encode", text=text, add_special=True), text
    # Loading what was saved changes nothing, not even through AutoTokenizer's own save.
    auto.save_pretrained(str(tmp_path / "again"))
    assert tool("load", path=str(tmp_path))["fingerprint"] == info["fingerprint"]
    assert tool("load", path=str(tmp_path / "again"))["fingerprint"] == info["fingerprint"]


def test_invalid_bytes_are_read_as_the_replacement_character(tool):
    tool("load", path=SMOLLM2)
    assert tool("decode", ids=tool("encode", text="a\ufffdb")) == "a\ufffdb"


@pytest.mark.parametrize("path", ["model.vocab", "model.merges", "model.type", "pre_tokenizer.type", "added_tokens"])
def test_a_damaged_file_is_refused_with_its_key(tool, tmp_path, path):
    shutil.copy(os.path.join(DEEPSEEK, "tokenizer_config.json"), tmp_path)
    root = {"added_tokens": [], "pre_tokenizer": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}
    section = root
    *parents, key = path.split(".")
    for parent in parents:
        section = section[parent]
    section[key] = 17
    (tmp_path / "tokenizer.json").write_text(json.dumps(root))
    with pytest.raises(ToolError) as caught:
        tool("load", path=str(tmp_path))
    assert caught.value.code == "INVALID_MODEL" and "tokenizer.json" in str(caught.value) and path in str(caught.value)


SENTENCE_PIECE = ["tokenizer.model.v1", "mistral_instruct_tokenizer_240216.model.v2", "mistral_instruct_tokenizer_240323.model.v3"]


@pytest.mark.parametrize("name", SENTENCE_PIECE)
def test_sentence_piece_model_files(tool, tmp_path, name):
    import sentencepiece
    path = os.path.join(MISTRAL, name)
    reference = sentencepiece.SentencePieceProcessor(model_file=path)
    exported(tool, path, tmp_path)
    for text in texts(250):
        if "\0" in text:
            continue  # sentencepiece ends there
        ids = tool("encode", text=text, parse_special=False)
        assert ids == reference.encode(text), text
        assert tool("decode", ids=ids) == reference.decode(ids), text
    assert_same(tool, HuggingFace.from_file(str(tmp_path / "tokenizer.json")), texts(90))


@pytest.mark.parametrize("options", [dict(model_type="unigram"), dict(model_type="unigram", byte_fallback=True),
                                     dict(model_type="unigram", normalization_rule_name="identity", remove_extra_whitespaces=False),
                                     dict(model_type="bpe", byte_fallback=True), dict(model_type="bpe", add_dummy_prefix=False)],
                         ids=lambda options: "-".join(f"{key}={value}" for key, value in options.items()))
def test_sentence_piece_models_trained_here(tool, tmp_path, options):
    import sentencepiece
    lines = [line for text in texts(2000, seed=3) for line in text.split("\n") if "\0" not in text]
    (tmp_path / "text.txt").write_text("\n".join(lines), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(input=str(tmp_path / "text.txt"), model_prefix=str(tmp_path / "tokenizer"),
                                             minloglevel=2, vocab_size=3500, character_coverage=0.98,
                                             hard_vocab_limit=False, **options)
    reference = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer.model"))
    exported(tool, str(tmp_path / "tokenizer.model"), tmp_path / "exported")
    wrong = []
    for text in texts(400):
        # SentencePiece normalizes by its longest match, Hugging Face by graphemes, and we do as the latter.
        if any(unicodedata.category(c) in ("Cc", "Cf", "Mn", "Me", "Sk", "Co", "Cn") or c == "\u2581" for c in text):
            continue
        ids, wanted = tool("encode", text=text, parse_special=False), reference.encode(text)
        # Of two cuts with the same score either is right: SentencePiece adds up in single precision.
        score = [sum(map(reference.get_score, cut)) for cut in (ids, wanted)]
        if ids != wanted and not (options["model_type"] == "unigram" and 0 not in ids and score[0] == pytest.approx(score[1], abs=1e-3)):
            wrong.append((text, wanted, ids))
    assert not wrong, (len(wrong), wrong[:3])
    assert_same(tool, HuggingFace.from_file(str(tmp_path / "exported" / "tokenizer.json")), texts(200))


def test_round_trip_is_exact(tool):
    for name in ["llama-bpe", "gpt-2", "starcoder", "falcon", "llama-spm", "phi-3"]:
        tool("load", path=os.path.join(VOCABULARIES, f"ggml-vocab-{name}.gguf"))
        for text in texts(150):
            if "\u2581" in text and name in ("llama-spm", "phi-3"):
                continue  # to SentencePiece it is a space
            ids = tool("encode", text=text, parse_special=False)
            assert tool("decode", ids=ids) == text, name


def test_streaming_never_splits_a_character(tool):
    for path in [SMOLLM2, os.path.join(VOCABULARIES, "ggml-vocab-llama-spm.gguf"), os.path.join(VOCABULARIES, "ggml-vocab-qwen2.gguf")]:
        tool("load", path=path)
        for text in texts(120):
            for piece in tool("stream", ids=tool("encode", text=text, parse_special=False)):
                assert "\ufffd" not in piece or "\ufffd" in text, text


# What the vocabularies above say about characters: their patterns, and the forms of Unicode.
SPLITS = {
    "gpt-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama-3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "o200k": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?"
             r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "words": r"\w+|\W",
    "classes": r"[\w.]+|[^\w\s]+|\d",
    "scripts": r"\p{Han}+|\p{Latin}+|\p{Hiragana}+|\p{Katakana}+|\p{Greek}+|\p{Hangul}|\P{Thai}",
    "categories": r"\p{Mn}+|\p{Mc}+|\p{Nd}+|\p{No}+|\p{P}+|\p{S}+|\p{Cf}+|\p{Han}+",
}
STEPS = [*({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False} for pattern in SPLITS.values()),
         {"type": "Digits", "individual_digits": True}, {"type": "Whitespace"}, {"type": "WhitespaceSplit"}, {"type": "BertPreTokenizer"},
         {"type": "Punctuation", "behavior": "Isolated"}]
FORMS = [{"type": name} for name in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents")]


@pytest.mark.parametrize("step", STEPS + FORMS, ids=[*SPLITS, *(step["type"] for step in (STEPS + FORMS)[len(SPLITS):])])
def test_every_character_is_of_its_class(tool, tmp_path, step):
    """Also the newest: the versions of Unicode are those of `tokenizers`, not of our ICU and PCRE2."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    # A space before every piece shows where the text is cut.
    marks = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": False}
    root = {"version": "1.0", "added_tokens": [], "normalizer": step if step in FORMS else None, "post_processor": None, "decoder": None,
            "pre_tokenizer": marks if step in FORMS else {"type": "Sequence", "pretokenizers": [step, marks]},
            "model": {"type": "BPE", "vocab": {c: index for index, c in enumerate(alphabet)}, "merges": []}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(root))
    tool("load", path=str(tmp_path))
    reference = HuggingFace.from_file(str(tmp_path / "tokenizer.json"))
    # Of long rows of one category (ideographs, what was unassigned when Python was made) each fifth; all of the others.
    rank = [unicodedata.category(chr(c)) for c in range(0x32400)]
    code_points = [c for c in range(0x323FF) if rank[c] != "Cs" and (c % 5 == 0 or c < 0x300 or not rank[c - 1] == rank[c] == rank[c + 1])]
    code_points = [c for c in code_points if c % 61 == 0 or rank[c] != "Lo" or rank[c - 9] != "Lo" or rank[c + 9] != "Lo"]
    code_points += [0x2B738, 0x2B739, 0x2B73A, 0x2EBF0, 0x2EE5D, 0x2EE5E, 0x31350, 0x323AF, 0xE0001, 0xE0100, 0xF0000, 0x10FFFD]
    wrong = []
    for begin in range(0, len(code_points), 100):
        texts_of = {c: f"a{chr(c)}1\u0301{chr(c)}\u0323b {chr(c)}{chr(c)}.\n\t\n" for c in code_points[begin:begin + 100]}
        whole = "".join(texts_of.values())
        if tool("encode", text=whole) != reference.encode(whole).ids:
            wrong += [f"U+{c:04X}" for c, text in texts_of.items() if tool("encode", text=text) != reference.encode(text).ids]
    assert not wrong, (len(wrong), "".join(wrong).replace("U+"," "))
