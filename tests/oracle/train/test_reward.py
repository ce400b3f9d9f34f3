"""Reward models of slipway-train against TRL's RewardTrainer, and their results in transformers and peft."""
import json

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from conftest_models import make_model
from reference import MODULES, assert_close, assert_same_update, load_tensors, metrics, run_train
from test_families import make_family
from test_preferences import ROWS, preference_spec, write_rows
from trl_reference import tokenised, trainer

from trl.trainer.reward_trainer import DataCollatorForPreference  # noqa: E402: with what trl_reference gives it

LORA = {"type": "lora", "r": 4, "lora_alpha": 8, "target_modules": MODULES}


def classifier(folder, padding):
    """As TRL prepares one."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32)
    model.config.pad_token_id = padding
    return model


def train_theirs(model, tokenizer, steps, coefficient):
    made = trainer("reward", model, None, tokenizer, args={"center_rewards_coefficient": coefficient})
    batch = DataCollatorForPreference(tokenizer.pad_token_id)(tokenised(made, ROWS))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.0)
    losses, norms = [], []
    for _ in range(steps):
        loss = made.compute_loss(model, dict(batch))
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(trained, 1.0).item())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, norms, made._metrics["train"], batch


def compare(found, losses, norms, theirs):
    ours = [values for _, values in sorted(metrics(found, "grad_norm").items())]
    assert_close("loss", [m["loss"] for m in ours], losses, 1e-4)
    assert_close("grad_norm", [m["grad_norm"] for m in ours], norms, 1e-3)
    for name in ("margin", "mean_reward", "min_reward", "max_reward"):
        assert max(abs(m[name] - t) for m, t in zip(ours, theirs[name])) < 1e-4, name
    assert [m["accuracy"] for m in ours] == theirs["accuracy"]


def training(steps):
    return {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "num_train_epochs": steps, "lr_scheduler_type": "constant",
            "eval_steps": 2}


@pytest.mark.parametrize("coefficient", [None, 0.1])
def test_lora_with_a_score_head(tmp_path, tiny_model, coefficient):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    torch.manual_seed(3)
    theirs = get_peft_model(classifier(tiny_model, tokenizer.pad_token_id),
                            LoraConfig(r=4, lora_alpha=8, target_modules=MODULES, task_type="SEQ_CLS", modules_to_save=["score"]))
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    theirs.save_pretrained(tmp_path / "init")
    start = load_file(tmp_path / "init/adapter_model.safetensors")
    objective = {"type": "reward", **({"center_rewards_coefficient": coefficient} if coefficient else {})}
    found = run_train(tmp_path / "work", preference_spec(
        tiny_model, write_rows(tmp_path), {**LORA, "init_adapter": str(tmp_path / "init")}, objective, training(6)))
    losses, norms, their_metrics, batch = train_theirs(theirs, tokenizer, 6, coefficient)
    compare(found, losses, norms, their_metrics)
    evaluation = metrics(found, "eval_loss")
    assert sorted(evaluation) == [2, 4, 6] and all({"eval_accuracy", "eval_margin"} <= set(m) for m in evaluation.values())
    adapter = tmp_path / "work/out/adapter"
    theirs.save_pretrained(tmp_path / "theirs")
    trained = load_file(tmp_path / "theirs/adapter_model.safetensors")
    assert load_tensors(adapter / "adapter_model.safetensors").keys() == trained.keys()
    assert_same_update(load_tensors(adapter / "adapter_model.safetensors"), trained, start)
    ours = PeftModel.from_pretrained(classifier(tiny_model, tokenizer.pad_token_id), adapter)
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "work/out/merged", dtype=torch.float32)
    with torch.no_grad():
        expected = theirs(**batch).logits
        for model in (ours, merged):
            assert (model(**batch).logits - expected).abs().max() <= 1e-4 * max(1.0, expected.abs().max().item())


@pytest.mark.parametrize("family", ["untied", "gpt2", "gemma3"])
def test_full_fine_tuning_from_a_fresh_head(tmp_path, family):
    untied = {"tie_word_embeddings": False}
    model = make_model(tmp_path / "model", **untied) if family == "untied" else make_family(tmp_path / "model", family)
    tokenizer = AutoTokenizer.from_pretrained(model)
    fresh = preference_spec(model, write_rows(tmp_path), {"type": "full"}, {"type": "reward"}, {**training(6), "learning_rate": 0})
    fresh["output"] = {"merged": "out/merged"}
    run_train(tmp_path / "fresh", fresh)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "fresh/out/merged", dtype=torch.float32,
                                                                attn_implementation="eager").eval()
    assert theirs.config.pad_token_id == tokenizer.pad_token_id
    assert abs(theirs.score.weight.std().item() - 0.02) < 0.01
    found = run_train(tmp_path / "work", json.loads(json.dumps({**fresh, "training": {**fresh["training"], "learning_rate": 1e-3}})))
    losses, norms, their_metrics, batch = train_theirs(theirs, tokenizer, 6, None)
    ours = [values for _, values in sorted(metrics(found, "grad_norm").items())]
    assert_close("loss", [m["loss"] for m in ours], losses, 1e-4)
    assert_close("grad_norm", [m["grad_norm"] for m in ours], norms, 1e-3)
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "work/out/merged", dtype=torch.float32,
                                                                attn_implementation="eager").eval()
    with torch.no_grad():
        assert (merged(**batch).logits - theirs(**batch).logits).abs().max() < 1e-3


def test_long_rows_are_dropped_and_ranks_agree(tmp_path, tiny_model):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS + [{**ROWS[0], "chosen": "keel " * 60}]))
    curves = []
    for ranks in (1, 2):
        spec = preference_spec(tiny_model, path, LORA, {"type": "reward"}, {"max_steps": 4, "per_device_train_batch_size": 4 // ranks})
        if ranks > 1:
            spec["parallel"] = {"ranks": ranks, "strategy": "fsdp"}
        found = run_train(tmp_path / str(ranks), spec)
        assert metrics(found, "train_rows")[0]["dropped_rows"] == 1
        assert "longer" in next(e["message"] for e in found if e["type"] == "warning" and e["code"] == "ROWS_DROPPED")
        curves.append(metrics(found, "grad_norm"))
    for key in ("loss", "grad_norm", "margin", "min_reward", "max_reward"):
        assert all(abs(curves[0][s][key] - curves[1][s][key]) < 1e-5 for s in curves[0]), key


def test_rows_with_one_answer_are_refused(tmp_path, tiny_model):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "sail ", "completion": "mast", "label": True}) + "\n")
    found = run_train(tmp_path / "work", preference_spec(tiny_model, path, LORA, {"type": "reward"}, {"max_steps": 1}), expect=1)
    error = next(e for e in found if e["type"] == "error")
    assert error["code"] == "INVALID_DATA" and "chosen and rejected" in error["advice"]
