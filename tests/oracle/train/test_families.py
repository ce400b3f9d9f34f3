"""Full fine-tuning of every family's decoder against transformers: losses, gradient norms, updates and merged logits."""
import json

import pytest
import torch
from transformers import (AutoModelForCausalLM, Gemma2Config, Gemma3TextConfig, GPT2Config, MistralConfig, Phi3Config,
                          Qwen2Config, Qwen3Config)

from conftest_models import make_tokenizer
from reference import MODULES, assert_close, assert_same_update, load_tensors, metrics, run_train, spec_for, train_reference
from test_against_peft import all_trained, assert_same_logits, cosine, initial_adapter, peft_model, peft_state, steps_of, tokenized

COMMON = {"vocab_size": 320, "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3, "num_attention_heads": 4,
          "num_key_value_heads": 2, "max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
FAMILIES = {
    "mistral": lambda: MistralConfig(**COMMON, head_dim=16, sliding_window=9),
    "qwen2": lambda: Qwen2Config(**COMMON),
    "qwen3": lambda: Qwen3Config(**COMMON, head_dim=32),
    "gemma2": lambda: Gemma2Config(**COMMON, head_dim=16, sliding_window=9, query_pre_attn_scalar=24,
                                   attn_logit_softcapping=5.0, final_logit_softcapping=3.0),
    "gemma3": lambda: Gemma3TextConfig(**COMMON, head_dim=16, sliding_window=9, query_pre_attn_scalar=24,
                                       layer_types=["sliding_attention", "full_attention", "sliding_attention"]),
    "phi3": lambda: Phi3Config(**COMMON),
    "gpt2": lambda: GPT2Config(vocab_size=320, n_embd=64, n_layer=3, n_head=4, n_positions=256, bos_token_id=1, eos_token_id=2,
                               resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0),
}


def make_family(folder, name):
    torch.manual_seed(11)
    model = AutoModelForCausalLM.from_config(FAMILIES[name](), attn_implementation="eager", dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0) if parameter.dim() == 2 else parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    make_tokenizer(folder)
    return folder


def load(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model.eval()  # no dropout


@pytest.mark.parametrize("name", FAMILIES)
def test_twelve_steps_of_full_fine_tuning(tmp_path, texts, name):
    path, rows = texts
    model = make_family(tmp_path / "model", name)
    steps = steps_of(tokenized(model, rows), 2)
    found = run_train(tmp_path / "work", spec_for(model, path, {"type": "full"}, {}, output={"merged": "out/merged"}))
    theirs = load(model)
    start = {k: v.detach().clone() for k, v in theirs.named_parameters()}
    losses, norms = train_reference(theirs, steps, all_trained(steps), 12, cosine(1e-3, 12))
    ours = metrics(found, "loss")
    assert_close("loss", [ours[s + 1]["loss"] for s in range(12)], losses, 1e-5)
    assert_close("grad_norm", [ours[s + 1]["grad_norm"] for s in range(12)], norms, 1e-4)
    merged = load(tmp_path / "work/out/merged")
    assert_same_update({k: v.detach() for k, v in merged.named_parameters()}, {k: v.detach() for k, v in theirs.named_parameters()},
                       start)
    assert_same_logits(merged, theirs, torch.tensor([tokenized(model, rows)[0]]))


# What PEFT is told to adapt; the spec says it in Llama's words, or in these.
LINEAR = {"phi3": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"], "gpt2": ["c_attn", "c_proj", "c_fc"]}


@pytest.mark.parametrize("name, further", [("qwen3", {}), ("gemma2", {}), ("phi3", {}), ("phi3", {"use_dora": True}), ("gpt2", {}),
                                           ("gpt2", {"use_dora": True})])
def test_lora_gives_an_adapter_that_peft_loads(tmp_path, texts, name, further):
    path, rows = texts
    model = make_family(tmp_path / "model", name)
    linear = LINEAR.get(name, MODULES)
    init = initial_adapter(tmp_path, model, {"r": 4, "lora_alpha": 8, "target_modules": linear, **further})
    steps = steps_of(tokenized(model, rows), 2)
    method = {"type": "lora", "r": 4, "lora_alpha": 8, "target_modules": linear if name == "phi3" else MODULES,
              "init_adapter": str(init), **further}
    found = run_train(tmp_path / "work", spec_for(model, path, method, {}))
    assert "INIT_ADAPTER_DIFFERS" not in [e.get("code") for e in found]
    theirs = peft_model(model, init).eval()
    start = peft_state(theirs)
    losses, _ = train_reference(theirs, steps, all_trained(steps), 12, cosine(1e-3, 12))
    assert_close("loss", [m["loss"] for m in metrics(found, "loss").values()], losses, 1e-5)
    out = tmp_path / "work/out"
    assert_same_update(load_tensors(out / "adapter/adapter_model.safetensors"), peft_state(theirs), start)
    assert sorted(json.loads((out / "adapter/adapter_config.json").read_text())["target_modules"]) == sorted(linear)
    ids = torch.tensor([tokenized(model, rows)[0]])
    assert_same_logits(peft_model(model, out / "adapter").eval(), theirs, ids)
    assert_same_logits(load(out / "merged"), theirs, ids)


def test_a_layer_that_files_keep_as_one_is_adapted_as_one(tmp_path, texts):
    model = make_family(tmp_path / "phi3", "phi3")

    def error(name, modules):
        method = {"type": "lora", "r": 4, "lora_alpha": 8, "target_modules": modules}
        found = run_train(tmp_path / name, spec_for(model, texts[0], method, {}), expect=2)
        return next(e["message"] + " -> " + e["advice"] for e in found if e["type"] == "error")

    assert "q_proj, k_proj, v_proj as one layer, qkv_proj" in error("some", ["q_proj", "v_proj"])
    assert error("other", ["c_attn"]).endswith("use some of qkv_proj, o_proj, gate_up_proj, down_proj")
    model = make_family(tmp_path / "gpt2", "gpt2")
    assert "gpt2 models have none of gate_proj" in error("none", ["gate_proj"])


@pytest.mark.parametrize("name", ["mistral", "gemma2", "gemma3"])
def test_gguf_of_models_whose_scores_or_windows_it_has_no_key_for(tmp_path, texts, name):
    """What is published was run: the served GGUF gives the trainer's logits."""
    model = make_family(tmp_path / "model", name)
    if name == "gemma3":  # the order of layers that GGUF knows
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps({**config, "layer_types": ["sliding_attention"] * 3}))
    found = run_train(tmp_path / "work", spec_for(model, texts[0], {"type": "full"}, {}, output={"gguf": "out/model.gguf"}))
    assert [e["path"] for e in found if e["type"] == "artifact"] == ["out/model.gguf"]
    assert (tmp_path / "work/out/model.gguf").is_file()
    assert list((tmp_path / "work/out").iterdir()) == [tmp_path / "work/out/model.gguf"]


def test_an_order_of_layers_that_gguf_cannot_say_is_refused_before_training(tmp_path, texts):
    model = make_family(tmp_path / "model", "gemma3")
    spec = spec_for(model, texts[0], {"type": "lora", "r": 4, "target_modules": MODULES}, {}, output={"gguf": "out/model.gguf"})
    found = run_train(tmp_path / "work", spec, expect=1)
    assert "order of layers with and without a window" in next(e["message"] for e in found if e["type"] == "error")
    assert not metrics(found, "loss")
