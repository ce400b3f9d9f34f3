"""The same training in plain PyTorch with transformers and peft: what slipway-train is compared with."""
import json
import os
import pathlib
import subprocess

import torch
from safetensors.torch import load_file

BIN = pathlib.Path(os.environ.get("SLIPWAY_BIN", "build/bin"))
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def run_train(workdir, spec, expect=0, env=None):
    """Runs slipway-train on `spec` in `workdir`; returns its events."""
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / "spec.json"
    path.write_text(json.dumps(spec))
    done = subprocess.run([BIN / "slipway-train", "--spec", path, "--workdir", workdir], capture_output=True, text=True,
                          env={**os.environ, **(env or {})}, timeout=580)
    assert done.returncode == expect, f"exit {done.returncode}: {done.stderr[-2000:]}"
    return events(workdir)


def events(workdir):
    return [json.loads(line) for line in (workdir / "events.jsonl").read_text().splitlines()]


def metrics(event_list, key):
    return {e["step"]: e["values"] for e in event_list if e["type"] == "metric" and key in e["values"]}


def spec_for(model, train, method, training, validation=None, output=None):
    base = {"num_train_epochs": 1, "per_device_train_batch_size": 2, "learning_rate": 1e-3, "lr_scheduler_type": "cosine",
            "max_length": 64, "packing": False, "shuffle": False, "precision": "f32", "logging_steps": 1, "eval_steps": 0,
            "save_steps": 0}
    spec = {"version": 1, "kind": "train", "model": {"path": str(model)},
            "data": {"train": [{"path": str(train), "format": "text"}]},
            "method": method, "training": {**base, **training},
            "output": output or {"adapter": "out/adapter", "merged": "out/merged"}}
    if validation:
        spec["data"]["validation"] = [{"path": str(validation), "format": "text"}]
    return spec


def train_reference(model, documents, masks, steps, learning_rates, weight_decay=0.0, max_grad_norm=1.0, decayed=None,
                    betas=(0.9, 0.999), eps=1e-8, optimizer=None, tasks=None):
    """`documents[s]` holds step s's micro-batches, each a list of token lists; masks likewise. Returns losses and norms.
    optimizer: instead of AdamW; its groups may have a factor `scale` of the learning rate. tasks: of multitask prompts, as documents.
    Where the model puts virtual tokens in front, they predict the first token."""
    trained = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    groups = [{"params": [p for n, p in trained if decayed is None or decayed(n)], "weight_decay": weight_decay},
              {"params": [p for n, p in trained if decayed is not None and not decayed(n)], "weight_decay": 0.0}]
    optimizer = optimizer or torch.optim.AdamW([g for g in groups if g["params"]], lr=1.0, betas=betas, eps=eps)
    virtual = getattr(getattr(model, "active_peft_config", None), "num_virtual_tokens", 0)
    first = 0 if virtual else 1
    losses, norms = [], []
    for step in range(steps):
        total = sum(sum(mask[first:]) for micro in masks[step] for mask in micro)
        loss_sum = 0.0
        for number, (micro, micro_masks) in enumerate(zip(documents[step], masks[step])):
            width = max(map(len, micro))
            ids = torch.zeros(len(micro), width, dtype=torch.long)
            attention = torch.zeros_like(ids)
            labels = torch.full_like(ids, -100)
            for row, (tokens, mask) in enumerate(zip(micro, micro_masks)):
                ids[row, :len(tokens)] = torch.tensor(tokens)
                attention[row, :len(tokens)] = 1
                labels[row, :len(tokens)] = torch.where(torch.tensor(mask) != 0, torch.tensor(tokens), -100)
            further = {"task_ids": torch.tensor(tasks[step][number])} if tasks else {}
            logits = model(input_ids=ids, attention_mask=attention, **further).logits[:, max(virtual - 1, 0):-1]
            loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]).float(), labels[:, first:].reshape(-1),
                                                     ignore_index=-100, reduction="sum") / total
            loss.backward()
            loss_sum += loss.item()
        norm = torch.nn.utils.clip_grad_norm_([p for _, p in trained], max_grad_norm if max_grad_norm > 0 else float("inf"))
        for group in optimizer.param_groups:
            group["lr"] = learning_rates[step] * group.get("scale", 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss_sum)
        norms.append(norm.item())
    return losses, norms


def assert_close(name, ours, theirs, relative):
    worst = max(abs(a - b) / max(abs(b), 1e-12) for a, b in zip(ours, theirs))
    assert len(ours) == len(theirs) and worst <= relative, f"{name}: off by {worst:.2e}\nours   {ours}\ntheirs {theirs}"


def assert_same_update(ours, theirs, start, tolerance=0.01):
    """The whole weight update agrees in size and direction."""
    a = torch.cat([(ours[k].double() - start[k].double()).flatten() for k in sorted(start)])
    b = torch.cat([(theirs[k].double() - start[k].double()).flatten() for k in sorted(start)])
    assert abs(a.norm() / b.norm() - 1) < tolerance and 1 - torch.dot(a, b) / (a.norm() * b.norm()) < tolerance


def load_tensors(path):
    return load_file(str(path))
