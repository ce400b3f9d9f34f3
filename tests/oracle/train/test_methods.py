"""DoRA, LoRA+, freezing and the optimizers of slipway-train against PyTorch's, transformers' and peft's own."""
import json

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from transformers.optimization import Adafactor

from reference import MODULES, assert_close, assert_same_update, load_tensors, metrics, run_train, spec_for, train_reference
from test_against_peft import all_trained, assert_same_logits, cosine, initial_adapter, peft_model, peft_state, steps_of, tokenized

LORA = {"type": "lora", "r": 4, "lora_alpha": 8, "target_modules": MODULES}


def full_model(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def compare_full(tmp_path, model, path, rows, method, training, optimizer, tolerance=0.01, decay=0.0):
    """Twelve steps of full fine-tuning; `optimizer` makes the reference's from the model."""
    steps = steps_of(tokenized(model, rows), 2)
    found = run_train(tmp_path / "work", spec_for(model, path, {"type": "full", **method},
                                                  {"weight_decay": decay, "lr_scheduler_type": "constant", **training},
                                                  output={"merged": "out/merged"}))
    theirs = full_model(model)
    start = {k: v.detach().clone() for k, v in theirs.named_parameters()}
    losses, norms = train_reference(theirs, steps, all_trained(steps), 12, [training.get("learning_rate", 1e-3)] * 12,
                                    optimizer=optimizer(theirs))
    ours = metrics(found, "loss")
    assert_close("loss", [ours[s + 1]["loss"] for s in range(12)], losses, 1e-4 if tolerance > 0.01 else 1e-5)
    assert_close("grad_norm", [ours[s + 1]["grad_norm"] for s in range(12)], norms, 1e-3 if tolerance > 0.01 else 1e-4)
    tensors = load_tensors(tmp_path / "work/out/merged/model.safetensors")
    assert_same_update(tensors, {k: v.detach() for k, v in theirs.named_parameters()}, start, tolerance)
    return tensors, start


def decay_groups(model, decay):
    return [{"params": [p for n, p in model.named_parameters() if "norm" not in n and p.requires_grad], "weight_decay": decay},
            {"params": [p for n, p in model.named_parameters() if "norm" in n and p.requires_grad], "weight_decay": 0.0}]


class Lion(torch.optim.Optimizer):
    """Chen et al. 2023, algorithm 2."""

    def __init__(self, groups, betas):
        super().__init__(groups, {"lr": 1.0, "betas": betas, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(group["lr"] * (b1 * m + (1 - b1) * p.grad).sign())
                m.mul_(b2).add_(p.grad, alpha=1 - b2)


class Both:
    """Two optimizers as one."""

    def __init__(self, *parts):
        self.parts = parts
        self.param_groups = [group for part in parts for group in part.param_groups]

    def step(self):
        for part in self.parts:
            part.step()

    def zero_grad(self):
        for part in self.parts:
            part.zero_grad()


def test_adafactor_is_that_of_transformers(tmp_path, tiny_model, texts):
    compare_full(tmp_path, tiny_model, *texts, {}, {"optim": "adafactor"}, decay=0.1, optimizer=lambda m: Adafactor(
        decay_groups(m, 0.1), lr=1.0, scale_parameter=False, relative_step=False))


def test_lion_follows_its_paper(tmp_path, tiny_model, texts):
    compare_full(tmp_path, tiny_model, *texts, {}, {"optim": "lion", "learning_rate": 1e-4, "adam_beta2": 0.99}, decay=0.1,
                 tolerance=0.02, optimizer=lambda m: Lion(decay_groups(m, 0.1), (0.9, 0.99)))


def test_muon_is_that_of_torch_for_matrices(tmp_path, tiny_model, texts):
    def optimizer(model):
        matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
        rest = [p for n, p in model.named_parameters() if p.dim() != 2 or "embed" in n]
        return Both(torch.optim.Muon(matrices, lr=1.0, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
                    torch.optim.AdamW(rest, lr=1.0, weight_decay=0.0))
    compare_full(tmp_path, tiny_model, *texts, {}, {"optim": "muon"}, optimizer, tolerance=0.02)


def test_adamw_in_eight_bits_learns_as_adamw_does(tmp_path, tiny_model, texts):
    path, rows = texts
    results = {}
    for optim in ("adamw", "adamw_8bit"):
        found = run_train(tmp_path / optim, spec_for(tiny_model, path, {"type": "full"}, {"optim": optim, "num_train_epochs": 4},
                                                     output={"merged": "out/merged"}))
        results[optim] = [m["loss"] for m in metrics(found, "loss").values()]
    assert results["adamw_8bit"][0] == results["adamw"][0]
    assert results["adamw_8bit"][-1] < 0.8 * results["adamw_8bit"][0]
    assert abs(results["adamw_8bit"][-1] - results["adamw"][-1]) < 0.02 * results["adamw"][0]


def test_frozen_layers_and_embeddings_stay_as_they_were(tmp_path, tiny_model, texts):
    def optimizer(model):
        for name, parameter in model.named_parameters():
            parameter.requires_grad = not (name.startswith("model.layers.0.") or name.startswith("model.layers.1.")
                                           or "embed" in name)
        return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1.0, weight_decay=0.0)
    tensors, start = compare_full(tmp_path, tiny_model, *texts, {"freeze_layers": 2, "freeze_embeddings": True}, {}, optimizer)
    changed = {name for name in start if not torch.equal(tensors[name], start[name])}
    assert changed and all(name.startswith("model.layers.2.") or name == "model.norm.weight" for name in changed)


def test_frozen_layers_below_trained_embeddings(tmp_path, tiny_model, texts):
    def optimizer(model):
        for name, parameter in model.named_parameters():
            parameter.requires_grad = not name.startswith("model.layers.0.")
        return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1.0, weight_decay=0.0)
    compare_full(tmp_path, tiny_model, *texts, {"freeze_layers": 1}, {}, optimizer)


def lora_state(model):
    return {k.replace(".default.weight", "").replace(".default.", ".") if "magnitude" in k else k.replace(".default.", "."):
            v.detach().clone() for k, v in model.named_parameters() if "lora_" in k}


def test_dora(tmp_path, tiny_model, texts):
    path, rows = texts
    torch.manual_seed(3)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=MODULES, use_dora=True)
    theirs = get_peft_model(full_model(tiny_model), config)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
            elif "magnitude" in name:
                parameter.mul_(1.1)
    theirs.save_pretrained(tmp_path / "init")
    start = lora_state(theirs)
    steps = steps_of(tokenized(tiny_model, rows), 2)
    found = run_train(tmp_path / "work", spec_for(tiny_model, path, {**LORA, "use_dora": True,
                                                                     "init_adapter": str(tmp_path / "init")}, {}))
    losses, norms = train_reference(theirs, steps, all_trained(steps), 12, cosine(1e-3, 12))
    ours = metrics(found, "loss")
    assert_close("loss", [ours[s + 1]["loss"] for s in range(12)], losses, 1e-5)
    assert_close("grad_norm", [ours[s + 1]["grad_norm"] for s in range(12)], norms, 1e-4)
    out = tmp_path / "work/out"
    assert_same_update(load_tensors(out / "adapter/adapter_model.safetensors"), lora_state(theirs), start)
    ids = torch.tensor([tokenized(tiny_model, rows)[0]])
    assert_same_logits(full_model(out / "merged"), theirs, ids)
    assert_same_logits(PeftModel.from_pretrained(full_model(tiny_model), out / "adapter"), theirs, ids)


def test_a_fresh_dora_adapter_changes_nothing(tmp_path, tiny_model, texts):
    run_train(tmp_path / "work", spec_for(tiny_model, texts[0], {**LORA, "use_dora": True}, {"learning_rate": 0, "max_steps": 1}))
    base, merged = (load_file(f / "model.safetensors") for f in (tiny_model, tmp_path / "work/out/merged"))
    assert all(torch.allclose(base[k], merged[k], rtol=1e-5, atol=1e-6) for k in base)


def test_lora_plus_trains_b_faster(tmp_path, tiny_model, texts):
    path, rows = texts
    init = initial_adapter(tmp_path, tiny_model)
    steps = steps_of(tokenized(tiny_model, rows), 2)
    found = run_train(tmp_path / "work", spec_for(tiny_model, path, {**LORA, "loraplus_lr_ratio": 8, "init_adapter": str(init)},
                                                  {"learning_rate": 2e-4}))
    theirs = peft_model(tiny_model, init)
    start = lora_state(theirs)
    trained = [(n, p) for n, p in theirs.named_parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW([{"params": [p for n, p in trained if "lora_A" in n]},
                                   {"params": [p for n, p in trained if "lora_B" in n], "scale": 8.0}], weight_decay=0.0)
    losses, _ = train_reference(theirs, steps, all_trained(steps), 12, cosine(2e-4, 12), optimizer=optimizer)
    assert_close("loss", [m["loss"] for m in metrics(found, "loss").values()], losses, 1e-5)
    assert_same_update(load_tensors(tmp_path / "work/out/adapter/adapter_model.safetensors"), lora_state(theirs), start)


def test_an_adapter_on_some_layers(tmp_path, tiny_model, texts):
    run_train(tmp_path / "work", spec_for(tiny_model, texts[0], {**LORA, "layers_to_transform": [2]}, {"max_steps": 2}))
    names = load_tensors(tmp_path / "work/out/adapter/adapter_model.safetensors").keys()
    assert len(names) == 14 and all(".layers.2." in name for name in names)


def test_neftune_noise_is_drawn_from_the_seed(tmp_path, tiny_model, texts):
    losses = []
    for name, alpha, seed in (("plain", 0, 1), ("a", 5, 1), ("again", 5, 1), ("other", 5, 2)):
        found = run_train(tmp_path / name, spec_for(tiny_model, texts[0], LORA, {"neftune_noise_alpha": alpha, "seed": seed,
                                                                                 "max_steps": 2}))
        losses.append([m["loss"] for m in metrics(found, "loss").values()])
    assert losses[1] == losses[2] and losses[1] != losses[0] and losses[1] != losses[3]
    assert abs(losses[1][0] - losses[0][0]) < 0.2 * losses[0][0]


def test_prompts_are_answered_without_a_validation_set_too(tmp_path, tiny_model, texts):
    path, _ = texts
    spec = spec_for(tiny_model, path, LORA, {"max_steps": 4, "eval_steps": 2, "sample_prompts": ["harbour keel"],
                                             "sample_max_new_tokens": 4})
    assert not metrics(run_train(tmp_path / "work", spec), "eval_loss")
    samples = [json.loads(line) for line in (tmp_path / "work/samples.jsonl").read_text().splitlines()]
    assert [s["step"] for s in samples] == [2, 4]


def test_early_stopping_publishes_the_best(tmp_path, tiny_model, texts):
    path, _ = texts
    spec = spec_for(tiny_model, path, LORA, {"learning_rate": 0.3, "lr_scheduler_type": "constant", "num_train_epochs": 20,
                                             "eval_steps": 2, "early_stopping_patience": 3, "load_best_model_at_end": True,
                                             "sample_prompts": ["harbour keel"], "sample_max_new_tokens": 4},
                    validation=path)
    found = run_train(tmp_path / "work", spec)
    evaluations = {step: m["eval_loss"] for step, m in metrics(found, "eval_loss").items()}
    best = min(evaluations, key=evaluations.get)
    last = max(evaluations)
    assert last == best + 6 and last < 240, evaluations
    assert any(e["type"] == "warning" and e["code"] == "EARLY_STOPPING" for e in found)
    check = spec_for(tmp_path / "work/out/merged", path, LORA, {"learning_rate": 0, "max_steps": 1, "eval_steps": 1}, validation=path)
    again = metrics(run_train(tmp_path / "check", check), "eval_loss")[1]["eval_loss"]
    assert abs(again - evaluations[best]) < 1e-4 * again
    samples = [json.loads(line) for line in (tmp_path / "work/samples.jsonl").read_text().splitlines()]
    assert [s["step"] for s in samples] == sorted(evaluations) and all(s["prompt"] == "harbour keel" for s in samples)


@pytest.mark.parametrize("pattern", [
    {"rank_pattern": {"q_proj": 8, "layers.1.mlp.down_proj": 2}, "alpha_pattern": {"v_proj": 32, "layers.0.mlp.up_proj": 3}},
    {"rank_pattern": {"up_proj": 2}, "alpha_pattern": {"k_proj": 1}, "use_rslora": True, "layers_to_transform": [0, 2]},
], ids=["ranks-and-alphas", "some-layers-rslora"])
def test_an_adapter_to_start_from_keeps_its_ranks_alphas_and_layers(tmp_path, tiny_model, texts, pattern):
    path, rows = texts
    steps = steps_of(tokenized(tiny_model, rows), 2)
    init = initial_adapter(tmp_path, tiny_model, {**LORA, **pattern})
    found = run_train(tmp_path / "work", spec_for(tiny_model, path, {**LORA, "init_adapter": str(init)}, {}))
    theirs = peft_model(tiny_model, init)
    start = peft_state(theirs)
    losses, norms = train_reference(theirs, steps, all_trained(steps), 12, cosine(1e-3, 12))
    ours = metrics(found, "loss")
    assert_close("loss", [ours[s + 1]["loss"] for s in range(12)], losses, 1e-5)
    assert_close("grad_norm", [ours[s + 1]["grad_norm"] for s in range(12)], norms, 1e-4)
    out = tmp_path / "work/out"
    after = peft_state(theirs)
    assert_same_update(load_tensors(out / "adapter/adapter_model.safetensors"), after, start)
    assert load_tensors(out / "adapter/adapter_model.safetensors").keys() == after.keys()
    ids = torch.tensor([tokenized(tiny_model, rows)[0]])
    assert_same_logits(peft_model(tiny_model, out / "adapter"), theirs, ids)
    assert_same_logits(full_model(out / "merged"), theirs, ids)


def test_adapters_that_cannot_be_continued_are_refused(tmp_path, tiny_model, texts):
    def error(name, **further):
        config = json.loads((tmp_path / "init/adapter_config.json").read_text())
        (tmp_path / "init/adapter_config.json").write_text(json.dumps({**config, **further}))
        found = run_train(tmp_path / name,
                          spec_for(tiny_model, texts[0], {**LORA, "init_adapter": str(tmp_path / "init")}, {}), expect=1)
        return next(e["message"] for e in found if e["type"] == "error")

    initial_adapter(tmp_path, tiny_model)
    assert "init_lora_weights is pissa, which changes the base's weights" in error("pissa", init_lora_weights="pissa")
    assert "regular expression .*q_proj" in error("expression", init_lora_weights=True, alpha_pattern={".*q_proj": 3})
    assert "modules_to_save is set" in error("modules", modules_to_save=["lm_head"], alpha_pattern={})
