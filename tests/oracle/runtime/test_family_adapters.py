"""PEFT adapters (LoRA, rank-stabilised, DoRA) on families whose layers lie differently, against peft, merged and not."""
import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from families import tiny
from test_runtime import run

LLAMA = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CASES = {
    "llama": LLAMA,
    "qwen2": LLAMA,
    "gemma3": LLAMA,
    "phi3": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
    "gpt2": ["c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"],
    "gpt_neox": ["query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"],
    "starcoder2": ["q_proj", "v_proj", "c_fc", "c_proj"],
}
METHODS = {"lora": {}, "rslora": dict(use_rslora=True), "dora": dict(use_dora=True)}


def adapted(model, folder, seed, targets, **options):
    torch.manual_seed(seed)
    tuned = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules=targets, init_lora_weights=False, r=5, lora_alpha=10, **options))
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.mul_(0.3)
            if "magnitude" in name:
                parameter.mul_(1 + 0.2 * torch.rand_like(parameter))
    tuned.save_pretrained(folder)
    return tuned.unload()


@pytest.mark.parametrize("name", CASES)
def test_adapters_of_every_kind_at_once(tmp_path, name):
    model = tiny(name)
    model.save_pretrained(tmp_path / "base")
    for seed, (method, options) in enumerate(METHODS.items()):
        model = adapted(model, tmp_path / method, seed, CASES[name], **options)
    ids = torch.randint(3, 211, (1, 70), generator=torch.Generator().manual_seed(9))
    tokens = ids[0].tolist()
    expected, text = {}, {}
    for method in ["", *METHODS]:
        tuned = PeftModel.from_pretrained(model, tmp_path / method).eval() if method else model
        with torch.no_grad():
            expected[method] = tuned(ids).logits[0].numpy()
            text[method] = tuned.generate(input_ids=ids[:, :9], max_new_tokens=12, do_sample=False, pad_token_id=0, eos_token_id=None)[0, 9:].tolist()
        if method:
            tuned.merge_and_unload().save_pretrained(tmp_path / ("merged-" + method))
            model = tiny(name)
            assert np.abs(expected[method] - expected[""]).max() > 0.1
    jobs = [{"op": "logits", "tokens": tokens, "adapter": method} for method in expected]
    jobs += [{"op": "generate", "tokens": tokens[:9], "adapter": method, "max_tokens": 12, "ignore_eos": True} for method in [*expected] * 2]
    results = run(tmp_path, tmp_path / "base", jobs, adapters={method: str(tmp_path / method) for method in METHODS})
    for job, result in zip(jobs, results):
        if job["op"] == "logits":
            assert np.abs(result["logits"] - expected[job["adapter"]]).max() < 1e-4, job["adapter"]
        else:
            assert result["tokens"] == text[job["adapter"]], job["adapter"]
    for method in METHODS:
        (merged,) = run(tmp_path, tmp_path / ("merged-" + method), [{"op": "logits", "tokens": tokens}])
        assert np.abs(merged["logits"] - expected[method]).max() < 1e-4, method


def test_neighbours_with_adapters_do_not_change_a_single_bit(tmp_path):
    model = tiny("llama")
    model.save_pretrained(tmp_path / "base")
    for seed, (method, options) in enumerate(METHODS.items()):
        model = adapted(model, tmp_path / method, seed, LLAMA, **options)
    adapters = {method: str(tmp_path / method) for method in METHODS}
    requests = [{"op": "generate", "tokens": list(range(5 + i, 25 + i)), "adapter": adapter, "max_tokens": 20, "ignore_eos": True, "top_logprobs": 3}
                for i, adapter in enumerate(["", "lora", "rslora", "dora", "", "lora", "dora"])]
    together = run(tmp_path, tmp_path / "base", requests, adapters=adapters)
    for request, among_others in zip(requests, together):
        (alone,) = run(tmp_path, tmp_path / "base", [request], adapters=adapters)
        assert alone["tokens"] == among_others["tokens"] and alone["top_logprobs"] == among_others["top_logprobs"]
