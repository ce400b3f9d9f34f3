"""Memory and speed of one rank of 1, 2 and 4: python tests/bench/train_ranks.py [--strategy fsdp].

SmolLM2-135M, full fine-tuning in f32 by default, the same global batch. Memory is what a process holds
at its peak, of the largest rank. No test: nothing passes or fails.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from train import BIN, model_file, perlfaq  # noqa: E402


def run(folder: Path, data: Path, ranks: int, arguments) -> tuple:
    method = {"type": "full"} if arguments.work == "full" else {"type": "lora", "r": 16, "lora_alpha": 32}
    spec = {"version": 1, "kind": "train", "model": {"path": str(model_file())},
            "data": {"train": [{"path": str(data), "format": "messages"}]}, "method": method,
            "training": {"max_steps": 3, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 4 // ranks,
                         "max_length": 256, "packing": True, "precision": arguments.precision, "learning_rate": 1e-5,
                         "assistant_only_loss": False},
            "parallel": {"ranks": ranks, "strategy": arguments.strategy},
            "output": {"merged": "out/merged"} if arguments.work == "full" else {"adapter": "out/adapter"}}
    work = folder / str(ranks)
    work.mkdir()
    (work / "spec.json").write_text(json.dumps(spec))
    subprocess.run([BIN / "slipway-train", "--spec", work / "spec.json", "--workdir", work], check=True, capture_output=True,
                   env={**os.environ, "OMP_NUM_THREADS": str(os.cpu_count())})
    lines = [json.loads(line) for line in (work / "events.jsonl").read_text().splitlines()]
    values = [e["values"] for e in lines if e["type"] == "metric" and "loss" in e["values"]]
    return values[-1]["peak_memory_bytes"], statistics.median(v["tokens_per_second"] for v in values[1:]), values[-1]["loss"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--strategy", default="fsdp", choices=["fsdp", "ddp"])
    parser.add_argument("--work", default="full", choices=["full", "lora"])
    parser.add_argument("--precision", default="f32", choices=["f32", "bf16"])
    arguments = parser.parse_args()
    print(f"{arguments.work} {arguments.precision}, {arguments.strategy}\n{'ranks':>6}{'MiB per rank':>14}{'of one':>8}{'tokens/s':>10}{'loss':>12}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = perlfaq(folder)
        alone = None
        for ranks in (1, 2, 4):
            memory, rate, loss = run(folder, data, ranks, arguments)
            alone = alone or memory
            print(f"{ranks:6}{memory / 2**20:14.0f}{memory / alone:8.2f}{rate:10.0f}{loss:12.6f}", flush=True)


if __name__ == "__main__":
    main()
