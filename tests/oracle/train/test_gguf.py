"""GGUF files of trained models: transformers reads them as the merged model, and llama.cpp, where it is built, says the
same."""
import json
import os
import pathlib
import socket
import subprocess
import time
import urllib.request

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from conftest_models import WORDS, make_model, make_tokenizer, write_texts
from reference import run_train, spec_for

METHOD = {"type": "lora", "r": 4, "lora_alpha": 8}
LLAMA = pathlib.Path(os.environ.get("SLIPWAY_DEPS", pathlib.Path.home() / ".cache/slipway")) / "llama.cpp/build/bin/llama-server"


def make_qwen(folder):
    from transformers import Qwen2Config, Qwen2ForCausalLM
    torch.manual_seed(3)
    Qwen2ForCausalLM(Qwen2Config(vocab_size=320, hidden_size=64, intermediate_size=160, num_hidden_layers=2, num_attention_heads=4,
                                 num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=False, bos_token_id=1,
                                 eos_token_id=2, pad_token_id=2)).save_pretrained(folder)
    make_tokenizer(folder)
    return folder


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def trained(request, tmp_path_factory):
    """(merged folder, folder of model.gguf) after some steps; base a Hugging Face folder."""
    folder = tmp_path_factory.mktemp(request.param)
    model = make_model(folder / "model") if request.param == "llama" else make_qwen(folder / "model")
    write_texts(folder / "train.jsonl", 24)
    out = {"adapter": "out/adapter", "merged": "out/merged", "gguf": "out/gguf"}
    found = run_train(folder / "work", spec_for(model, folder / "train.jsonl", METHOD, {"learning_rate": 1e-2}, output=out))
    assert ("gguf", "out/gguf") in [(e["name"], e["path"]) for e in found if e["type"] == "artifact"]
    return folder / "work/out/merged", folder / "work/out/gguf"


def logits(folder, text, **how):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **how)
    tokenizer = AutoTokenizer.from_pretrained(folder, **how)
    ids = tokenizer(text, return_tensors="pt").input_ids
    with torch.no_grad():
        return ids, model(ids).logits


def test_transformers_reads_the_merged_model(trained):
    merged, gguf = trained
    text = " ".join(WORDS) + " 'tis 42 \u00e4\U0001f680 <|im_start|>user"
    ids, expected = logits(merged, text)
    again, found = logits(gguf, text, gguf_file="model.gguf")
    assert ids.tolist() == again.tolist()
    assert (found[..., :expected.shape[-1]] - expected).abs().max() < 1e-2 * expected.abs().max()


def test_a_gguf_base_keeps_its_vocabulary(tmp_path, trained):
    """A second training, begun from the first one's GGUF file."""
    gguf = pytest.importorskip("gguf")
    write_texts(tmp_path / "train.jsonl", 8)
    spec = spec_for(trained[1] / "model.gguf", tmp_path / "train.jsonl", METHOD, {"learning_rate": 1e-2},
                    output={"merged": "out/merged", "gguf": "out/gguf"})
    run_train(tmp_path / "work", spec)
    before, after = (gguf.GGUFReader(f / "model.gguf") for f in (trained[1], tmp_path / "work/out/gguf"))
    for key in before.fields:
        if key.startswith("tokenizer."):
            ours, theirs = after.fields[key].contents(), before.fields[key].contents()
            if key == "tokenizer.ggml.token_type":  # what fills the embeddings up comes back as tokens like others
                ours, theirs = ours[:300], theirs[:300]
            assert ours == theirs, key
    assert sorted(t.name for t in before.tensors) == sorted(t.name for t in after.tensors)
    ids, expected = logits(tmp_path / "work/out/merged", " ".join(WORDS))
    _, found = logits(tmp_path / "work/out/gguf", " ".join(WORDS), gguf_file="model.gguf")
    assert (found[..., :expected.shape[-1]] - expected).abs().max() < 1e-2 * expected.abs().max()


@pytest.mark.skipif(not LLAMA.exists(), reason="llama.cpp is not built here; make bench-serve builds it")
def test_llama_cpp_goes_on_as_the_merged_model_does(trained):
    merged, gguf = trained
    tokenizer, model = AutoTokenizer.from_pretrained(merged), AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = subprocess.Popen([LLAMA, "-m", gguf / "model.gguf", "--port", str(port), "-c", "256", "-t", "1", "--no-warmup"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        text = "harbour keel anchor mast"
        ids = tokenizer(text).input_ids
        for _ in range(200):
            try:
                request = urllib.request.Request(f"http://127.0.0.1:{port}/completion", method="POST",
                                                 headers={"Content-Type": "application/json"},
                                                 data=json.dumps({"prompt": text, "n_predict": 1, "temperature": 0, "n_probs": 5,
                                                                  "return_tokens": True}).encode())
                answer = json.loads(urllib.request.urlopen(request, timeout=30).read())
                break
            except OSError:
                assert server.poll() is None
                time.sleep(0.1)
        with torch.no_grad():
            expected = torch.log_softmax(model(torch.tensor([ids])).logits[0, -1], -1)
        assert answer["tokens_evaluated"] == len(ids)
        for entry in answer["completion_probabilities"][0]["top_logprobs"]:
            assert abs(expected[entry["id"]].item() - entry["logprob"]) < 0.05
    finally:
        server.kill()
        server.wait()
