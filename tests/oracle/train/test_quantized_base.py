"""QLoRA: adapters learnt on a base of 4 or 8 bits, against peft on a base that was quantised and brought back here, by
bitsandbytes' definitions written down again in PyTorch."""
import pytest
import torch

from reference import MODULES, assert_close, assert_same_update, load_tensors, metrics, run_train, spec_for, train_reference
from test_against_peft import all_trained, initial_adapter, peft_model, peft_state, steps_of, tokenized

LORA = {"type": "lora", "r": 4, "lora_alpha": 8, "target_modules": MODULES}
NF4 = torch.tensor([-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
                    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
                    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0])


def dynamic_map():
    """bitsandbytes.functional.create_dynamic_map(signed=True)."""
    values = []
    for i in range(7):
        bounds = torch.linspace(0.1, 1, 2 ** i + 1)
        means = (bounds[:-1] + bounds[1:]) / 2
        values += (10 ** (i - 6) * means).tolist() + (-(10 ** (i - 6)) * means).tolist()
    return torch.tensor(sorted(values + [0.0, 1.0]))


def in_blocks(values, size, use):
    flat = values.flatten()
    padded = torch.nn.functional.pad(flat, (0, -len(flat) % size)).view(-1, size)
    return use(padded).flatten()[:len(flat)].view(values.shape)


def nearest(values, code):
    return code[(values.unsqueeze(-1) - code).abs().argmin(-1)]


def nf4(weight, double):
    flat = weight.flatten()
    blocks = torch.nn.functional.pad(flat, (0, -len(flat) % 64)).view(-1, 64)
    scales = blocks.abs().amax(1)
    codes = nearest(blocks / scales.unsqueeze(1), NF4)
    if double:
        mean = scales.mean()
        scales = in_blocks(scales - mean, 256, lambda b: nearest(b / b.abs().amax(1, keepdim=True), dynamic_map())
                           * b.abs().amax(1, keepdim=True)) + mean
    return (codes * scales.unsqueeze(1)).flatten()[:len(flat)].view(weight.shape)


def int8(weight):
    largest = weight.abs().amax(1, keepdim=True)
    return torch.round(weight * (127 / largest)) * largest / 127


@pytest.mark.parametrize("name, method, quantized", [
    ("nf4", {"quantization": "nf4"}, lambda w: nf4(w, True)),
    ("nf4 with plain scales", {"quantization": "nf4", "double_quantization": False}, lambda w: nf4(w, False)),
    ("int8", {"quantization": "int8"}, int8)])
def test_adapters_on_a_quantised_base(tmp_path, tiny_model, texts, name, method, quantized):
    path, rows = texts
    init = initial_adapter(tmp_path, tiny_model)
    found = run_train(tmp_path / "work", spec_for(tiny_model, path, {**LORA, **method, "init_adapter": str(init)},
                                                  {"lr_scheduler_type": "constant"}))
    theirs = peft_model(tiny_model, init)
    with torch.no_grad():
        for module_name, parameter in theirs.named_parameters():
            if module_name.endswith("base_layer.weight"):
                parameter.copy_(quantized(parameter))
    start = peft_state(theirs)
    steps = steps_of(tokenized(tiny_model, rows), 2)
    losses, norms = train_reference(theirs, steps, all_trained(steps), 12, [1e-3] * 12)
    ours = metrics(found, "loss")
    assert_close("loss", [ours[s + 1]["loss"] for s in range(12)], losses, 1e-5)
    assert_close("grad_norm", [ours[s + 1]["grad_norm"] for s in range(12)], norms, 1e-4)
    assert_same_update(load_tensors(tmp_path / "work/out/adapter/adapter_model.safetensors"), peft_state(theirs), start)
