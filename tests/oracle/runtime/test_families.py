"""Every family's decoder against transformers in f32: logits, greedy text, log-probabilities, from folders and from GGUF."""
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import gguf_writer
from families import FAMILIES, tiny
from test_runtime import run


def expected_of(model, ids, steps=16):
    with torch.no_grad():
        logits = model(ids).logits[0]
        text = model.generate(ids[:, :60], max_new_tokens=steps, do_sample=False, pad_token_id=0)[0, 60:].tolist()
    return logits, text


def assert_same(tmp_path, path, model):
    ids = torch.randint(3, 211, (1, 300), generator=torch.Generator().manual_seed(4))
    expected, text = expected_of(model, ids)
    jobs = [{"op": "logits", "tokens": ids[0].tolist()},
            {"op": "generate", "tokens": ids[0, :60].tolist(), "max_tokens": 16, "top_logprobs": 5}]
    got, generated = run(tmp_path, path, jobs)
    difference = np.abs(got["logits"] - expected.numpy())
    assert (difference <= 2e-4 * np.maximum(1, np.abs(expected.numpy()))).all(), difference.max()
    assert generated["tokens"] == (text[:-1] if text[-1] == 2 else text)
    best = torch.topk(torch.log_softmax(expected[59], -1), 5)
    assert [id for id, _ in generated["top_logprobs"][0]] == best.indices.tolist()
    assert np.allclose([value for _, value in generated["top_logprobs"][0]], best.values, atol=5e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_folder(tmp_path, name):
    model = tiny(name)
    model.save_pretrained(tmp_path)
    assert_same(tmp_path, tmp_path, model)


@pytest.mark.parametrize("dtype", ["bf16", "int8"])
@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "gemma2", "gemma3", "starcoder2", "qwen3"])
def test_rounded_weights_stay_near(tmp_path, name, dtype):
    """Layers with and without a gate, packed for these formats: an error in the packing would be as large as the logits."""
    model = tiny(name)
    model.save_pretrained(tmp_path)
    ids = torch.randint(3, 211, (1, 90), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        expected = model(ids).logits[0].numpy()
    (got,) = run(tmp_path, tmp_path, [{"op": "logits", "tokens": ids[0].tolist()}], dtype=dtype)
    assert np.abs(got["logits"] - expected).mean() < 0.05 * expected.std()


def test_a_base_model_saved_without_its_head_has_the_same_tensors(tmp_path):
    """gpt2's own repository names its tensors wte.weight, h.0.…"""
    model = tiny("gpt2")
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({name.removeprefix("transformer."): value for name, value in tensors.items()}, tmp_path / "model.safetensors", {"format": "pt"})
    assert_same(tmp_path, tmp_path, model)


def test_the_decoder_of_a_gemma3_that_sees_images(tmp_path):
    model = tiny("gemma3")
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({"language_model." + name: value for name, value in tensors.items()}, tmp_path / "model.safetensors", {"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3", "eos_token_id": 2, "text_config": config}))
    assert_same(tmp_path, tmp_path, model)


# What GGUF says nothing of: windows of these families, GPT-2's variations, Gemma's scale of scores (mostly the head's width).
GGUF = [name for name in FAMILIES if name not in ("llama_dynamic", "mistral_window", "qwen2_window", "starcoder2_window", "gpt2_inner", "gemma3_scaled")]


@pytest.mark.parametrize("name", GGUF)
def test_gguf(tmp_path, name):
    model = tiny(name, **({"query_pre_attn_scalar": 16} if name.startswith("gemma") else {}))
    if name == "gemma3":  # in GGUF every sixth layer sees everything
        model = tiny(name, query_pre_attn_scalar=16, layer_types=["sliding_attention"] * 4)
    gguf_writer.write(model, tmp_path / "model.gguf")
    assert_same(tmp_path, tmp_path / "model.gguf", model)
