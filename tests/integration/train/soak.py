"""make soak-train: a run that is killed a hundred times at random moments, alone and as several ranks of which one is
killed or stopped at a time, ends as one that was left alone: bit for bit alone, within 1e-4 of its curve with ranks."""
import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "oracle" / "train"))
from conftest_models import make_model, write_texts  # noqa: E402
from reference import BIN, events, metrics, run_train, spec_for  # noqa: E402


def job(model, data, steps, ranks):
    spec = spec_for(model, data, {"type": "lora", "r": 4, "lora_alpha": 8},
                    {"max_steps": steps, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 4 // ranks, "packing": True,
                     "shuffle": True, "max_length": 96, "save_steps": 5, "save_total_limit": 3})
    spec["parallel"] = {"ranks": ranks, "strategy": "ddp"}
    return spec


def start(work):
    return subprocess.Popen([BIN / "slipway-train", "--spec", work / "spec.json", "--workdir", work], stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)


def prepare(folder, spec):
    folder.mkdir()
    (folder / "spec.json").write_text(json.dumps(spec))
    return folder


def kill_alone(folder, spec, kills, rng):
    """Returns how often it was killed before it had finished."""
    work, done = prepare(folder, spec), 0
    while done < kills:
        process = start(work)
        time.sleep(rng.uniform(0.0, 1.2))
        process.send_signal(rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
        if process.wait() == 0:
            break
        done += 1
    run_train(work, spec)
    return done


def kill_ranks(folder, spec, kills, rng):
    work, done = prepare(folder, spec), 0
    while done < kills:
        launcher = start(work)
        time.sleep(rng.uniform(1.0, 3.0))
        children = pathlib.Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children")
        ranks = children.read_text().split() if launcher.poll() is None else []
        if ranks and rng.random() < 0.7:
            os.kill(int(rng.choice(ranks)), rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP]))
            time.sleep(rng.uniform(0.0, 2.0))
        launcher.kill()
        if launcher.wait() == 0:
            break
        done += 1
    run_train(work, spec)
    return done


def losses(folder):
    said = [e for e in events(folder) if e["type"] == "metric" and "loss" in e["values"]]
    assert [e["step"] for e in said] == list(range(1, len(said) + 1)), "a step is missing or told twice"
    return [e["values"]["loss"] for e in said]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    print(f"seed {arguments.seed}")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        model = make_model(folder / "model")
        write_texts(folder / "train.jsonl", 200)
        # Steps enough that all kills come before the end: ranks live some seconds between two, hundreds of steps here.
        for kind, kill, ranks, kills, steps in (("alone", kill_alone, 1, arguments.kills, 20 * arguments.kills),
                                                ("two ranks", kill_ranks, 2, arguments.kills // 5, 60 * arguments.kills)):
            spec = job(model, folder / "train.jsonl", steps, ranks)
            undisturbed, work = folder / f"{kind} left alone", folder / kind
            run_train(undisturbed, spec)
            done = kill(work, spec, kills, rng)
            file = "out/adapter/adapter_model.safetensors"
            same = (work / file).read_bytes() == (undisturbed / file).read_bytes()
            worst = max(abs(a / b - 1) for a, b in zip(losses(work), losses(undisturbed)))
            print(f"{kind}: {done} kills in {steps} steps; worst loss off by {worst:.1e}; adapter {'the same' if same else 'differs'}")
            assert worst < 1e-4 and (ranks > 1 or same)


if __name__ == "__main__":
    main()
