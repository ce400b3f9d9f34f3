"""DPO, ORPO and KTO of slipway-train against TRL's own trainers."""
import json

import pytest
import torch
from peft import PeftModel
from transformers import AutoTokenizer

from reference import MODULES, assert_close, assert_same_update, load_tensors, metrics, run_train, spec_for
from test_against_peft import initial_adapter, peft_state
from trl_reference import policy, tokenised, trainer

from trl.experimental.utils import DPODataCollatorWithPadding  # noqa: E402: with what trl_reference gives it
from trl.trainer.dpo_trainer import DataCollatorForPreference as DPOCollator  # noqa: E402
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference as KTOCollator  # noqa: E402

LORA = {"type": "lora", "r": 4, "lora_alpha": 8, "target_modules": MODULES}
ROWS = [{"prompt": "north wind ", "chosen": "harbour keel and mast", "rejected": "rope tide"},
        {"prompt": "sail", "chosen": " rudder", "rejected": " deck crew north stone"},
        {"prompt": "light water ", "chosen": "bridge road road", "rejected": "anchor"},
        {"prompt": "the mast ", "chosen": "keel", "rejected": "tide wind sail"}]
# Its trainer for ORPO does not let both answers begin together where a merge changes the prompt's end.
UNMERGED = [{key: value.strip() if key == "prompt" else " " + value.strip() for key, value in row.items()} for row in ROWS]
SINGLE = [{"prompt": row["prompt"], "completion": row[key], "label": key == "chosen"} for row in ROWS for key in ("chosen", "rejected")]


def dpo(beta=0.1, label_smoothing=0.0, loss_type="sigmoid", reference_free=False):
    """TRL has cDPO's smoothing in its loss `aot`, which is sigmoid's where a batch is one pair."""
    one_by_one = label_smoothing > 0

    def loss_of(model, reference, tokenizer):
        made = trainer("dpo", model, reference, tokenizer, beta=beta, label_smoothing=label_smoothing, loss_weights=[1.0],
                       loss_types=["aot" if one_by_one else loss_type])
        examples = tokenised(made, ROWS)
        if reference_free:
            made.precompute_ref_logps = True
            examples = [{**e, "ref_chosen_logps": 0.0, "ref_rejected_logps": 0.0} for e in examples]
        collate = DPOCollator(tokenizer.pad_token_id, max_length=64)
        batches = [collate([e]) for e in examples] if one_by_one else [collate(examples)]
        return lambda: sum(made._compute_loss(model, batch, False) for batch in batches) / len(batches)
    return loss_of


def orpo(beta):
    def loss_of(model, _, tokenizer):
        tokenizer.bos_token = None  # other trainers add none
        made = trainer("orpo", model, None, tokenizer, beta=beta)
        batch = DPODataCollatorWithPadding(pad_token_id=tokenizer.pad_token_id)([made.tokenize_row(dict(row)) for row in UNMERGED])
        return lambda: made.get_batch_loss_metrics(model, batch)[0]
    return loss_of


def kto(beta, desirable, undesirable):
    def loss_of(model, reference, tokenizer):
        made = trainer("kto", model, reference, tokenizer, beta=beta, desirable_weight=desirable, undesirable_weight=undesirable,
                       calculate_KL=True, loss_type="kto")
        batch = KTOCollator(tokenizer.pad_token_id, max_length=64)(tokenised(made, SINGLE))
        return lambda: made._compute_loss(model, batch, False)
    return loss_of


CASES = {
    "dpo": ({"type": "dpo"}, dpo()),
    "smoothed": ({"type": "dpo", "beta": 0.5, "label_smoothing": 0.2}, dpo(0.5, 0.2)),
    "ipo": ({"type": "dpo", "loss_type": "ipo", "beta": 0.2}, dpo(0.2, loss_type="ipo")),
    "reference-free": ({"type": "dpo", "reference_free": True, "beta": 0.05}, dpo(0.05, reference_free=True)),
    "orpo": ({"type": "orpo", "beta": 0.3}, orpo(0.3)),
    "kto": ({"type": "kto", "beta": 0.2, "desirable_weight": 1.5, "undesirable_weight": 0.7}, kto(0.2, 1.5, 0.7)),
}


def write_rows(tmp_path, rows=None):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows or ROWS))
    return path


def preference_spec(model, path, method, objective, training):
    spec = spec_for(model, path, method, training, validation=path)
    for source in spec["data"]["train"] + spec["data"]["validation"]:
        source["format"] = "preference"
    spec["objective"] = objective
    return spec


@pytest.mark.parametrize("case", CASES)
def test_losses_and_updates(tmp_path, tiny_model, case):
    objective, loss_of = CASES[case]
    init = initial_adapter(tmp_path, tiny_model)
    # KTO mixes answers within groups of the data's order: eight answers in one group.
    batch, accumulation = (8, 1) if case == "kto" else (2, 2)
    found = run_train(tmp_path / "work", preference_spec(
        tiny_model, write_rows(tmp_path, {"orpo": UNMERGED, "kto": SINGLE}.get(case)), {**LORA, "init_adapter": str(init)}, objective,
        {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulation, "num_train_epochs": 6,
         "lr_scheduler_type": "constant", "eval_steps": 2}))

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model, reference = (PeftModel.from_pretrained(policy(tiny_model), init, is_trainable=True) for _ in range(2))
    start = peft_state(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.0)
    compute_loss = loss_of(model, reference, tokenizer)
    losses, norms = [], []
    for _ in range(6):
        loss = compute_loss()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(trained, 1.0).item())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    ours = metrics(found, "grad_norm")
    assert_close("loss", [ours[s + 1]["loss"] for s in range(6)], losses, 1e-4)
    assert_close("grad_norm", [ours[s + 1]["grad_norm"] for s in range(6)], norms, 1e-3)
    assert_same_update(load_tensors(tmp_path / "work/out/adapter/adapter_model.safetensors"), peft_state(model), start)
    assert "rewards/chosen" in ours[1] and len(metrics(found, "eval_loss")) == 3


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
