"""PEFT's prompt tuning and multitask prompt tuning on the inference engine, against peft: logits, scores, greedy text."""
import numpy as np
import pytest
import torch
from peft import MultitaskPromptTuningConfig, PeftModel, PromptTuningConfig, get_peft_model

from families import tiny
from test_family_adapters import LLAMA, adapted
from test_runtime import run

TOKENS, TASKS = 19, 3  # more than a page of the cache


def prompted(model, folder, seed, multitask=False):
    torch.manual_seed(seed)
    config = (MultitaskPromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=TOKENS, num_tasks=TASKS, num_ranks=2) if multitask
              else PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=TOKENS))
    tuned = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "prefix_task" in name:
                parameter.mul_(40)  # about 1: what is trained starts near 0
    tuned.save_pretrained(folder)
    return tuned.get_base_model()


def theirs(model, folder, ids, task=None):
    """Logits of the real positions, and twelve greedy tokens after the first nine."""
    tuned = PeftModel.from_pretrained(model, folder).eval()
    tasks = {} if task is None else {"task_ids": torch.tensor([task])}
    with torch.no_grad():
        logits = tuned(input_ids=ids, **tasks).logits[0, TOKENS:].numpy()
        text = ids[:, :9]
        for _ in range(12):
            text = torch.cat([text, tuned(input_ids=text, **tasks).logits[:, -1:].argmax(-1)], 1)
    return logits, text[0, 9:].tolist()


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma2", "gemma3", "phi3", "gpt2", "gpt_neox"])
def test_prompts_of_every_kind_at_once(tmp_path, name):
    """Learned positions and windows count the virtual tokens; Gemma's embeddings are scaled, virtual tokens are not."""
    model = tiny(name)
    model.save_pretrained(tmp_path / "base")
    model = prompted(model, tmp_path / "plain", 3)
    model = prompted(model, tmp_path / "tasks", 4, multitask=True)
    ids = torch.randint(3, 211, (1, 70), generator=torch.Generator().manual_seed(9))
    tokens = ids[0].tolist()
    adapters = {"plain": str(tmp_path / "plain")}
    expected = {"plain": theirs(model, tmp_path / "plain", ids)}
    for task in range(TASKS):
        adapters[f"task{task}"] = {"path": str(tmp_path / "tasks"), "task_id": task}
        expected[f"task{task}"] = theirs(model, tmp_path / "tasks", ids, task)
    with torch.no_grad():
        expected[""] = model(ids).logits[0].numpy(), None
    jobs = [{"op": "logits", "tokens": tokens, "adapter": adapter} for adapter in expected]
    jobs += [{"op": "score", "tokens": tokens, "adapter": adapter} for adapter in expected]
    jobs += [{"op": "generate", "tokens": tokens[:9], "adapter": adapter, "max_tokens": 12, "ignore_eos": True} for adapter in [*adapters] * 2]
    for job, result in zip(jobs, run(tmp_path, tmp_path / "base", jobs, adapters=adapters)):
        logits, text = expected[job["adapter"]]
        if job["op"] == "logits":
            assert np.abs(result["logits"] - logits).max() < 2e-4, job["adapter"]
            assert job["adapter"] == "" or np.abs(logits - expected[""][0]).max() > 0.1
        elif job["op"] == "score":
            wanted = torch.log_softmax(torch.from_numpy(logits), -1)[:-1].gather(1, ids[0, 1:, None])[:, 0].numpy()
            assert np.abs(np.array(result["logprobs"]) - wanted).max() < 2e-4, job["adapter"]
        else:
            assert result["tokens"] == text, job["adapter"]


def test_generation_of_peft_itself(tmp_path):
    model = tiny("llama")
    model.save_pretrained(tmp_path / "base")
    model = prompted(model, tmp_path / "plain", 3)
    ids = torch.arange(20, 29)[None]
    tuned = PeftModel.from_pretrained(model, tmp_path / "plain").eval()
    text = tuned.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, pad_token_id=0,
                          eos_token_id=None)[0, 9:].tolist()
    (result,) = run(tmp_path, tmp_path / "base", adapters={"p": str(tmp_path / "plain")},
                    jobs=[{"op": "generate", "tokens": ids[0].tolist(), "adapter": "p", "max_tokens": 12, "ignore_eos": True}])
    assert result["tokens"] == text


def test_neighbours_do_not_change_a_single_bit(tmp_path):
    model = tiny("llama")
    model.save_pretrained(tmp_path / "base")
    model = prompted(model, tmp_path / "plain", 3)
    adapted(model, tmp_path / "lora", 1, LLAMA)
    adapters = {name: str(tmp_path / name) for name in ("plain", "lora")}
    requests = [{"op": "generate", "tokens": list(range(5 + i, 25 + i)), "adapter": adapter, "max_tokens": 20, "ignore_eos": True, "top_logprobs": 3}
                for i, adapter in enumerate(["", "plain", "lora", "plain", ""])]
    together = run(tmp_path, tmp_path / "base", requests, adapters=adapters)
    for request, among_others in zip(requests, together):
        (alone,) = run(tmp_path, tmp_path / "base", [request], adapters=adapters)
        assert alone["tokens"] == among_others["tokens"] and alone["top_logprobs"] == among_others["top_logprobs"]
