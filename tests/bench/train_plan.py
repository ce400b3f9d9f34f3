"""What slipway-train --plan tells, beside what then happens: python tests/bench/train_plan.py [--only NAME,...].

SmolLM2-135M, perlfaq. Of each setting the peak memory (goal: off by 15 % at most) and the speed (25 %): told, happened,
and by how much the first is off. Speed is in tokens per second, because steps of unpacked rows differ in their tokens.
No test: nothing passes or fails.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from train import BIN, model_file, perlfaq  # noqa: E402

LORA, FULL = {"type": "lora", "r": 16, "lora_alpha": 32}, {"type": "full"}
QLORA = {**LORA, "quantization": "nf4"}


def setting(method, precision="bf16", length=512, batch=4, ranks=1, strategy="ddp", **training):
    return {"method": method, "training": {"precision": precision, "max_length": length, "per_device_train_batch_size": batch,
                                           "packing": True, **training},
            "parallel": {"ranks": ranks, "strategy": strategy}}


SETTINGS = {
    "lora bf16 512x4": setting(LORA),
    "lora bf16 256x1": setting(LORA, length=256, batch=1),
    "lora bf16 1024x4": setting(LORA, length=1024),
    "lora f32 512x4": setting(LORA, "f32"),
    "lora bf16 512x4 unpacked": setting(LORA, packing=False),
    "lora bf16 1024x4 checkpointing": setting(LORA, length=1024, gradient_checkpointing=True),
    "qlora bf16 512x4": setting(QLORA),
    "full bf16 512x4": setting(FULL),
    "full f32 256x4": setting(FULL, "f32", length=256),
    "full bf16 512x1": setting(FULL, batch=1),
    "full bf16 512x1 saving": setting(FULL, batch=1, save_steps=2),
    "lora bf16 512x2 on 2 ranks": setting(LORA, batch=2, ranks=2),
    "full bf16 512x2 on 2 ranks fsdp": setting(FULL, batch=2, ranks=2, strategy="fsdp"),
}


def run(work: Path, spec: dict, *options: str) -> str:
    work.mkdir()
    (work / "spec.json").write_text(json.dumps(spec))
    return subprocess.run([BIN / "slipway-train", "--spec", work / "spec.json", "--workdir", work, *options], check=True,
                          capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "2"}).stdout


def happened(work: Path) -> tuple:
    """Tokens per second but for the first step, and peak memory of the largest rank."""
    lines = [json.loads(line) for line in (work / "events.jsonl").read_text().splitlines()]
    values = [e["values"] for e in lines if e["type"] == "metric" and "loss" in e["values"]]
    tokens = [b["tokens"] - a["tokens"] for a, b in zip(values, values[1:])]
    seconds = sum(n / v["tokens_per_second"] for n, v in zip(tokens, values[1:]))
    return sum(tokens) / seconds, values[-1]["peak_memory_bytes"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default=",".join(SETTINGS), help="names, between commas")
    parser.add_argument("--steps", type=int, default=4)
    arguments = parser.parse_args()
    print(f"{'':32}{'MiB told':>10}{'happened':>10}{'off':>7}{'tokens/s told':>15}{'happened':>10}{'off':>7}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = perlfaq(folder)
        for title in arguments.only.split(","):
            spec = {"version": 1, "kind": "train", "model": {"path": str(model_file())},
                    "data": {"train": [{"path": str(data), "format": "messages"}]}, **SETTINGS[title]}
            spec["training"].update(max_steps=arguments.steps, learning_rate=1e-5, assistant_only_loss=False)
            spec["output"] = {"merged": "out/merged"} if spec["method"]["type"] == "full" else {"adapter": "out/adapter"}
            told = json.loads(run(folder / f"{title} told", spec, "--plan"))
            run(folder / title, spec)
            rate, memory = happened(folder / title)
            print(f"{title:32}{told['peak_memory_bytes'] / 2**20:10.0f}{memory / 2**20:10.0f}"
                  f"{100 * (told['peak_memory_bytes'] / memory - 1):+6.0f}%{told['tokens_per_second']:15.0f}{rate:10.0f}"
                  f"{100 * (told['tokens_per_second'] / rate - 1):+6.0f}%", flush=True)


if __name__ == "__main__":
    main()
