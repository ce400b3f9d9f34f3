"""What a checkpoint costs the steps beside it: python tests/bench/train_save.py [--rounds N].

SmolLM2-135M, full fine-tuning in bf16 with AdamW (1.6 GB a checkpoint), in turns with and without a save in the middle.
Prints by how many seconds the steps behind the save took longer, what share of a minute that is (goal: under 5 %), and
both peak memories.
No test: nothing passes or fails.
"""
import argparse
import datetime
import json
import os
import subprocess
import tempfile
from pathlib import Path

from train import BIN, model_file, perlfaq

STEPS = 8


def second_half(work: Path, data: Path, save: bool) -> tuple[float, int]:
    """Its seconds, and the peak memory of all in MiB."""
    work.mkdir()
    spec = {"version": 1, "kind": "train", "model": {"path": str(model_file())},
            "data": {"train": [{"path": str(data), "format": "messages"}]}, "method": {"type": "full"},
            "training": {"max_steps": STEPS, "per_device_train_batch_size": 4, "max_length": 512, "packing": True, "precision": "bf16",
                         "lr_scheduler_type": "constant", "learning_rate": 1e-6, "save_steps": STEPS // 2 if save else 0,
                         "assistant_only_loss": False},
            "output": {"merged": "out/merged"}}
    (work / "spec.json").write_text(json.dumps(spec))
    subprocess.run([BIN / "slipway-train", "--spec", work / "spec.json", "--workdir", work], check=True, capture_output=True,
                   env={**os.environ, "OMP_NUM_THREADS": "2"})
    times, peak = {}, 0
    for event in map(json.loads, (work / "events.jsonl").read_text().splitlines()):
        if event["type"] == "metric" and "loss" in event["values"]:
            times[event["step"]] = datetime.datetime.fromisoformat(event["time"].replace("Z", "+00:00"))
            peak = event["values"]["peak_memory_bytes"] >> 20
    return (times[STEPS] - times[STEPS // 2]).total_seconds(), peak


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=2)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = perlfaq(folder)
        for number in range(rounds):
            (plain, least), (saving, most) = (second_half(folder / f"{number}-{save}", data, save) for save in (False, True))
            print(f"{STEPS - STEPS // 2} steps: {plain:.1f} s, behind a save {saving:.1f} s: {saving - plain:+.1f} s, "
                  f"{100 * (saving - plain) / 60:.1f} % of a minute; {least} and {most} MiB", flush=True)


if __name__ == "__main__":
    main()
