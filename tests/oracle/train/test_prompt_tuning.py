"""Prompt tuning and multitask prompt tuning of slipway-train against peft."""
import json
import shutil

import pytest
import torch
from peft import MultitaskPromptTuningConfig, PeftModel, PromptTuningConfig, get_peft_model, set_peft_model_state_dict
from peft.utils.save_and_load import load_peft_weights
from transformers import AutoModelForCausalLM, AutoTokenizer

from conftest_models import make_model, write_texts
from reference import assert_close, assert_same_update, load_tensors, metrics, run_train, spec_for, train_reference
from test_against_peft import all_trained, assert_same_logits, cosine, steps_of, tokenized
from test_families import make_family

TOKENS = 5
PLAIN = {"type": "prompt_tuning", "num_virtual_tokens": TOKENS}
MULTITASK = {"type": "multitask_prompt_tuning", "num_virtual_tokens": TOKENS, "num_tasks": 3, "num_ranks": 2}
ADAPTER = {"adapter": "out/adapter"}


def fresh_model(model, multitask=False):
    config = (MultitaskPromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=TOKENS, num_tasks=3, num_ranks=2) if multitask
              else PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=TOKENS))
    return get_peft_model(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), config).eval()  # no dropout


def trainable(model, adapter, multitask=False):
    """peft does not load prompts as trainable."""
    tuned = fresh_model(model, multitask)
    set_peft_model_state_dict(tuned, load_peft_weights(str(adapter), device="cpu"))
    return tuned


def loaded(model, adapter):
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), adapter).eval()


def initial_prompt(folder, model, multitask=False):
    torch.manual_seed(5)
    tuned = fresh_model(model, multitask)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "prefix_task" in name:
                parameter.mul_(30)  # away from 0, so that every gradient is seen
    tuned.save_pretrained(folder)
    return folder


def prompt_state(model):
    names = {"embedding.weight": "prompt_embeddings"}
    state = {k.split("prompt_encoder.default.")[1]: v.detach().clone() for k, v in model.named_parameters() if "prompt_encoder" in k}
    return {names.get(k, k): v for k, v in state.items()}


def with_tasks(path, rows, tasks=3):
    path.write_text("".join(json.dumps({"text": row, "task_id": i % tasks}) + "\n" for i, row in enumerate(rows)))
    return [i % tasks for i in range(len(rows))]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_twelve_steps_and_the_adapter(tmp_path, texts, family):
    """Learned positions count the virtual tokens; Gemma's embeddings are scaled, virtual tokens are not."""
    path, rows = texts
    model = make_model(tmp_path / "model") if family == "llama" else make_family(tmp_path / "model", family)
    init = initial_prompt(tmp_path / "init", model)
    steps = steps_of(tokenized(model, rows), 2)
    found = run_train(tmp_path / "work", spec_for(model, path, {**PLAIN, "init_adapter": str(init)}, {"weight_decay": 0.1},
                                                  output=ADAPTER))
    theirs = trainable(model, init)
    start = prompt_state(theirs)
    losses, norms = train_reference(theirs, steps, all_trained(steps), 12, cosine(1e-3, 12), weight_decay=0.1)
    ours = metrics(found, "loss")
    assert_close("loss", [ours[s + 1]["loss"] for s in range(12)], losses, 1e-5)
    assert_close("grad_norm", [ours[s + 1]["grad_norm"] for s in range(12)], norms, 1e-4)
    adapter = tmp_path / "work/out/adapter"
    assert_same_update(load_tensors(adapter / "adapter_model.safetensors"), prompt_state(theirs), start)
    assert_same_logits(loaded(model, adapter), theirs, torch.tensor([tokenized(model, rows)[0]]))
    assert ours[12]["tokens"] == ours[12]["trained_tokens"] == sum(map(len, tokenized(model, rows)))


def test_each_task_has_a_prompt_of_its_own(tmp_path, tiny_model, texts):
    path, rows = texts
    tasks = with_tasks(path, rows)
    init = initial_prompt(tmp_path / "init", tiny_model, multitask=True)
    steps = steps_of(tokenized(tiny_model, rows), 4)
    found = run_train(tmp_path / "work", spec_for(tiny_model, path, {**MULTITASK, "init_adapter": str(init)},
                                                  {"per_device_train_batch_size": 4}, output=ADAPTER))
    theirs = trainable(tiny_model, init, multitask=True)
    start = prompt_state(theirs)
    losses, norms = train_reference(theirs, steps, all_trained(steps), 6, cosine(1e-3, 6), tasks=steps_of(tasks, 4))
    values = metrics(found, "loss")
    assert_close("loss", [values[s + 1]["loss"] for s in range(6)], losses, 1e-5)
    assert_close("grad_norm", [values[s + 1]["grad_norm"] for s in range(6)], norms, 1e-4)
    adapter = tmp_path / "work/out/adapter"
    assert_same_update(load_tensors(adapter / "adapter_model.safetensors"), prompt_state(theirs), start)
    ours, ids = loaded(tiny_model, adapter), torch.tensor([tokenized(tiny_model, rows)[0]])
    with torch.no_grad():
        for task in range(3):
            a, b = (m(ids, task_ids=torch.tensor([task])).logits for m in (ours, theirs))
            assert (a - b).abs().max() <= 1e-4 * b.abs().max()


@pytest.mark.parametrize("method", [PLAIN, MULTITASK], ids=["one", "tasks"])
def test_packed_losses_are_the_unpacked_ones(tmp_path, tiny_model, method):
    path = tmp_path / "train.jsonl"
    with_tasks(path, write_texts(path, 16, longest=12))
    results = []
    for packing in (False, True):
        spec = spec_for(tiny_model, path, method, {"packing": packing, "per_device_train_batch_size": 16, "max_length": 96, "max_steps": 3,
                                                   "eval_steps": 1, "lr_scheduler_type": "constant"}, validation=path, output=ADAPTER)
        results.append(run_train(tmp_path / f"work{packing}", spec))
    for key in ("loss", "grad_norm", "eval_loss", "trained_tokens"):
        unpacked, packed = ([m[key] for m in metrics(r, key).values()] for r in results)
        assert_close(key, packed, unpacked, 1e-5)


def test_fresh_virtual_tokens(tmp_path, tiny_model, texts):
    fresh = {}
    for name, method in (("random", {"num_virtual_tokens": 40}), ("text", {"prompt_tuning_init": "TEXT", "num_virtual_tokens": 6,
                                                                            "prompt_tuning_init_text": "anchor mast"}),
                         ("vocab", {"prompt_tuning_init": "SAMPLE_VOCAB"})):
        run_train(tmp_path / name, spec_for(tiny_model, texts[0], {"type": "prompt_tuning", **method},
                                            {"learning_rate": 0, "max_steps": 1}, output=ADAPTER))
        fresh[name] = load_tensors(tmp_path / name / "out/adapter/adapter_model.safetensors")["prompt_embeddings"]
    embeddings = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).get_input_embeddings().weight
    ids = (AutoTokenizer.from_pretrained(tiny_model)("anchor mast")["input_ids"] * 6)[:6]
    assert torch.equal(fresh["text"], embeddings[torch.tensor(ids)])
    assert all((embeddings == row).all(1).any() for row in fresh["vocab"]) and len(fresh["vocab"]) == 20
    assert abs(fresh["random"].std().item() - 1) < 0.05 and abs(fresh["random"].mean().item()) < 0.1


def test_a_stopped_run_goes_on_bit_for_bit_and_ranks_agree(tmp_path, tiny_model, texts):
    path, rows = texts
    with_tasks(path, rows)
    training = {"max_steps": 6, "save_steps": 3, "neftune_noise_alpha": 2, "sample_prompts": ["keel"], "eval_steps": 3}
    for name in ("whole", "parts", "ranks"):
        spec = spec_for(tiny_model, path, MULTITASK, training, validation=path, output=ADAPTER)
        if name == "ranks":  # the same global batch
            spec["training"]["per_device_train_batch_size"] = 1
            spec["training"]["neftune_noise_alpha"] = 0
            spec["parallel"] = {"ranks": 2, "strategy": "fsdp"}
        run_train(tmp_path / name, spec)
    work = tmp_path / "parts"
    lines = (work / "events.jsonl").read_text().splitlines(keepends=True)  # as if killed behind the first checkpoint
    (work / "events.jsonl").write_text("".join(lines[:next(i for i, l in enumerate(lines) if '"type":"checkpoint"' in l) + 1]))
    shutil.rmtree(work / "checkpoints/step-6")
    shutil.rmtree(work / "out")
    run_train(work, spec_for(tiny_model, path, MULTITASK, training, validation=path, output=ADAPTER))
    whole, parts = ((tmp_path / n / "out/adapter/adapter_model.safetensors").read_bytes() for n in ("whole", "parts"))
    assert whole == parts
    spec = spec_for(tiny_model, path, MULTITASK, {**training, "neftune_noise_alpha": 0}, validation=path, output=ADAPTER)
    one = metrics(run_train(tmp_path / "one", spec), "loss")
    two = {e["step"]: e["values"] for e in map(json.loads, (tmp_path / "ranks/events.jsonl").read_text().splitlines())
           if e["type"] == "metric" and "loss" in e["values"]}
    for key in ("loss", "grad_norm"):
        assert_close(key, [two[s][key] for s in one], [one[s][key] for s in one], 1e-5)


def test_what_cannot_be_done_is_said(tmp_path, tiny_model, texts):
    path, rows = texts
    with_tasks(path, rows, 4)

    def error(name, method, status, output=ADAPTER, **training):
        found = run_train(tmp_path / name, spec_for(tiny_model, path, method, training, output=output), expect=status)
        event = next(e for e in found if e["type"] == "error")
        assert event["advice"]
        return event["code"] + " " + event["message"]
    assert "task_id" in error("task", MULTITASK, 1) and "line 4" in error("line", MULTITASK, 1)
    assert "merged" in error("merged", PLAIN, 2, output={"adapter": "a", "merged": "b"})
    assert "5 virtual tokens" in error("long", PLAIN, 2, max_length=252)
    assert "prompt_tuning_init_text" in error("text", {**PLAIN, "prompt_tuning_init": "TEXT"}, 2)
    lora = tmp_path / "lora"
    lora.mkdir()
    (lora / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4}')
    (lora / "adapter_model.safetensors").write_bytes(b"")
    assert "LORA" in error("other", {**PLAIN, "init_adapter": str(lora)}, 1)
    init = initial_prompt(tmp_path / "init", tiny_model, multitask=True)
    assert "several tasks" in error("tasks", {**PLAIN, "init_adapter": str(init)}, 1)
    path.write_text(json.dumps({"text": rows[0]}) + "\n")
    assert "task_id" in error("missing", MULTITASK, 1)
