"""Full fine-tuning of every family's decoder against transformers: losses, gradient norms, updates and merged logits."""
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


@pytest.mark.parametrize("name", ["qwen3", "gemma2"])
def test_lora_gives_an_adapter_that_peft_loads(tmp_path, texts, name):
    path, rows = texts
    model = make_family(tmp_path / "model", name)
    init = initial_adapter(tmp_path, model)
    steps = steps_of(tokenized(model, rows), 2)
    method = {"type": "lora", "r": 4, "lora_alpha": 8, "target_modules": MODULES, "init_adapter": str(init)}
    found = run_train(tmp_path / "work", spec_for(model, path, method, {}))
    theirs = peft_model(model, init).eval()
    start = peft_state(theirs)
    losses, _ = train_reference(theirs, steps, all_trained(steps), 12, cosine(1e-3, 12))
    assert_close("loss", [m["loss"] for m in metrics(found, "loss").values()], losses, 1e-5)
    assert_same_update(load_tensors(tmp_path / "work/out/adapter/adapter_model.safetensors"), peft_state(theirs), start)
