"""DPO, ORPO and KTO of slipway-train against TRL's published formulas in plain PyTorch with transformers and peft."""
import json

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoTokenizer

from reference import MODULES, assert_close, load_tensors, assert_same_update, metrics, run_train, spec_for
from test_against_peft import initial_adapter, peft_model, peft_state

LORA = {"type": "lora", "r": 4, "lora_alpha": 8, "target_modules": MODULES}
ROWS = [{"prompt": "north wind ", "chosen": "harbour keel and mast", "rejected": "rope tide"},
        {"prompt": "sail", "chosen": " rudder", "rejected": " deck crew north stone"},
        {"prompt": "light water ", "chosen": "bridge road road", "rejected": "anchor"},
        {"prompt": "the mast ", "chosen": "keel", "rejected": "tide wind sail"}]


def encoded(tokenizer, prompt, answer):
    ids = tokenizer(prompt + answer)["input_ids"] + [tokenizer.eos_token_id]
    return ids, len(tokenizer(prompt)["input_ids"])


def log_probabilities(model, ids, begin):
    """log p of each token from `begin` on."""
    logits = model(input_ids=torch.tensor([ids])).logits[0].float()
    return torch.log_softmax(logits[begin - 1:-1], -1).gather(1, torch.tensor(ids[begin:])[:, None])[:, 0]


def dpo(beta=0.1, label_smoothing=0.0, ipo=False, reference_free=False):
    def loss(model, reference, pairs):
        losses = []
        for chosen, rejected in pairs:
            def measure(answer):
                ours = log_probabilities(model, *answer)
                theirs = 0 if reference_free else log_probabilities(reference, *answer).detach()
                return (ours - theirs).mean() if ipo else (ours - theirs).sum()
            logits = measure(chosen) - measure(rejected)
            if ipo:
                losses.append((logits - 1 / (2 * beta)) ** 2)
            else:
                losses.append(-F.logsigmoid(beta * logits) * (1 - label_smoothing) - F.logsigmoid(-beta * logits) * label_smoothing)
        return torch.stack(losses).mean()
    return loss


def orpo(beta):
    def loss(model, _, pairs):
        ratios, entropy, tokens = [], 0, 0
        for chosen, rejected in pairs:
            c, r = (log_probabilities(model, *answer).mean() for answer in (chosen, rejected))
            ratios.append((c - torch.log1p(-torch.exp(c))) - (r - torch.log1p(-torch.exp(r))))
            whole = log_probabilities(model, chosen[0], 1)
            entropy, tokens = entropy - whole.sum(), tokens + len(whole)
        return entropy / tokens - beta * F.logsigmoid(torch.stack(ratios)).mean()
    return loss


def kto(beta, desirable, undesirable):
    def loss(model, reference, pairs):
        # TRL: within a batch each prompt gets the answer of the example before it, the first one that of the last.
        answers = [answer for pair in pairs for answer in pair]
        with torch.no_grad():
            differences = []
            for i, (ids, begin) in enumerate(answers):
                other, other_begin = answers[i - 1]
                mixed = ids[:begin] + other[other_begin:]
                differences.append(log_probabilities(model, mixed, begin).sum() - log_probabilities(reference, mixed, begin).sum())
            kl = torch.stack(differences).mean().clamp(min=0)
        losses = []
        for i, answer in enumerate(answers):
            ratio = log_probabilities(model, *answer).sum() - log_probabilities(reference, *answer).sum().detach()
            losses.append(desirable * (1 - torch.sigmoid(beta * (ratio - kl))) if i % 2 == 0 else
                          undesirable * (1 - torch.sigmoid(beta * (kl - ratio))))
        return torch.stack(losses).mean()
    return loss


CASES = {
    "dpo": ({"type": "dpo"}, dpo()),
    "smoothed": ({"type": "dpo", "beta": 0.5, "label_smoothing": 0.2}, dpo(0.5, 0.2)),
    "ipo": ({"type": "dpo", "loss_type": "ipo", "beta": 0.2}, dpo(0.2, ipo=True)),
    "reference-free": ({"type": "dpo", "reference_free": True, "beta": 0.05}, dpo(0.05, reference_free=True)),
    "orpo": ({"type": "orpo", "beta": 0.3}, orpo(0.3)),
    "kto": ({"type": "kto", "beta": 0.2, "desirable_weight": 1.5, "undesirable_weight": 0.7}, kto(0.2, 1.5, 0.7)),
}


@pytest.mark.parametrize("case", CASES)
def test_losses_and_updates(tmp_path, tiny_model, case):
    objective, formula = CASES[case]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    init = initial_adapter(tmp_path, tiny_model)
    batch = 4 if case == "kto" else 2  # KTO mixes answers within groups of the data's order
    spec = spec_for(tiny_model, path, {**LORA, "init_adapter": str(init)},
                    {"per_device_train_batch_size": batch, "gradient_accumulation_steps": 4 // batch, "num_train_epochs": 6,
                     "lr_scheduler_type": "constant", "eval_steps": 2}, validation=path)
    for source in spec["data"]["train"] + spec["data"]["validation"]:
        source["format"] = "preference"
    if case == "kto":
        spec["training"]["per_device_train_batch_size"] = 8  # eight answers in one group
    spec["objective"] = objective
    found = run_train(tmp_path / "work", spec)

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    pairs = [tuple(encoded(tokenizer, row["prompt"], row[key]) for key in ("chosen", "rejected")) for row in ROWS]
    model, reference = peft_model(tiny_model, init), peft_model(tiny_model, init)
    start = peft_state(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.0)
    losses, norms = [], []
    for _ in range(6):
        loss = formula(model, reference, pairs)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(trained, 1.0).item())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    ours = metrics(found, "grad_norm")
    assert_close("loss", [ours[s + 1]["loss"] for s in range(6)], losses, 1e-4)
    assert_close("grad_norm", [ours[s + 1]["grad_norm"] for s in range(6)], norms, 1e-3)
    assert_same_update(load_tensors(tmp_path / "work/out/adapter/adapter_model.safetensors"), peft_state(model), start)
    assert "rewards/margins" in ours[1] and len(metrics(found, "eval_loss")) == 3


def test_rows_with_one_answer_need_kto(tmp_path, tiny_model):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "sail ", "completion": "mast", "label": True}) + "\n" +
                    json.dumps({"prompt": "rope ", "completion": "deck", "label": False}) + "\n")
    for objective, status in (("kto", 0), ("dpo", 1)):
        spec = spec_for(tiny_model, path, LORA, {"max_steps": 1})
        spec["data"]["train"][0]["format"] = "preference"
        spec["objective"] = {"type": objective}
        found = run_train(tmp_path / objective, spec, expect=status)
        if status == 1:
            error = next(e for e in found if e["type"] == "error")
            assert error["code"] == "INVALID_DATA" and "kto" in error["advice"]


def test_a_stopped_run_goes_on_with_the_same_reference(tmp_path, tiny_model):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    results = []
    for name, steps in (("whole", None), ("parts", 3)):
        spec = spec_for(tiny_model, path, LORA, {"max_steps": 6, "save_steps": 3})
        spec["data"]["train"][0]["format"] = "preference"
        spec["objective"] = {"type": "dpo"}
        found = run_train(tmp_path / name, spec)
        if steps:  # as if it had been killed behind its first checkpoint
            work = tmp_path / name
            lines = (work / "events.jsonl").read_text().splitlines(keepends=True)
            cut = next(i for i, line in enumerate(lines) if '"type":"checkpoint"' in line)
            (work / "events.jsonl").write_text("".join(lines[:cut + 1]))
            import shutil
            shutil.rmtree(work / "checkpoints/step-6")
            shutil.rmtree(work / "out")
            found = run_train(work, spec)
        results.append((tmp_path / name / "out/adapter/adapter_model.safetensors").read_bytes())
    assert results[0] == results[1]
