"""A run that is killed, stopped and started again ends with the very bytes of one that was left alone."""
import json
import os
import random
import shutil
import signal
import subprocess
import time

import pytest

from conftest_models import make_model, write_texts
from reference import BIN, events, metrics, run_train, spec_for

STEPS = 20


def job(model, path, **training):
    return spec_for(model, path, {"type": "lora", "r": 4, "lora_alpha": 8, "lora_dropout": 0.1},
                    {"max_steps": STEPS, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "packing": True,
                     "shuffle": True, "save_steps": 3, "eval_steps": 4, "logging_steps": 2, "save_total_limit": 2,
                     "max_length": 96, **training}, validation=path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    model = make_model(folder / "model")
    path = folder / "train.jsonl"
    write_texts(path, 100)
    spec = job(model, path)
    found = run_train(folder / "work", spec)
    return spec, folder / "work", found


def adapter_bytes(workdir):
    return (workdir / "out/adapter/adapter_model.safetensors").read_bytes()


def start(workdir):
    return subprocess.Popen([BIN / "slipway-train", "--spec", workdir / "spec.json", "--workdir", workdir],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for_lines(process, path, count):
    """Until events.jsonl has `count` lines or the process has ended."""
    while process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.001)


def without_times(values):
    return {k: v for k, v in values.items() if k not in ("tokens_per_second", "mfu", "peak_memory_bytes")}


def check_same_run(undisturbed, workdir):
    _, other, found = undisturbed
    ours = events(workdir)
    assert adapter_bytes(workdir) == adapter_bytes(other)
    assert [e["seq"] for e in ours] == list(range(1, len(ours) + 1))
    for key in ("loss", "eval_loss"):
        said = [e["step"] for e in ours if e["type"] == "metric" and key in e["values"]]
        assert said == [e["step"] for e in found if e["type"] == "metric" and key in e["values"]], "none missing, none twice"
        expected = metrics(found, key)
        assert all(without_times(v) == without_times(expected[s]) for s, v in metrics(ours, key).items())
    for kind in ("checkpoint", "artifact"):
        said = [(e.get("step"), e.get("name"), e.get("sha256")) for e in ours if e["type"] == kind]
        assert len(said) == len(set(said))
    assert [e for e in ours if e["type"] == "finished"][-1]["status"] == "succeeded"


@pytest.mark.parametrize("seed", range(3))
def test_kills_and_stops_in_any_mix_change_nothing(undisturbed, tmp_path, seed):
    rng = random.Random(seed)
    spec, _, found = undisturbed
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    target = 0
    for _ in range(6):
        process = start(tmp_path)
        target += rng.randint(3, max(4, len(found) // 5))
        wait_for_lines(process, tmp_path / "events.jsonl", target)
        kind = rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
        process.send_signal(kind)
        status = process.wait(timeout=300)
        assert status in (0, -9, 143)
        if status == 0:
            break
    # One that was stopped between two due checkpoints saves one more; what was said must agree all the same.
    run_train(tmp_path, spec)
    check_same_run(undisturbed, tmp_path)


def test_sigterm_saves_and_a_finished_workdir_is_left_alone(undisturbed, tmp_path):
    spec = undisturbed[0]
    spec = {**spec, "training": {**spec["training"], "save_steps": 0}}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    process = start(tmp_path)
    while process.poll() is None and '"loss"' not in ((tmp_path / "events.jsonl").read_text()
                                                       if (tmp_path / "events.jsonl").exists() else ""):
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=300) == 143
    said = events(tmp_path)
    assert said[-1]["status"] == "stopped" and said[-2]["type"] == "checkpoint"
    assert (tmp_path / said[-2]["path"] / "COMMIT").exists()
    run_train(tmp_path, spec)
    assert adapter_bytes(tmp_path) == adapter_bytes(undisturbed[1])
    before = (tmp_path / "events.jsonl").read_bytes()
    run_train(tmp_path, spec)
    assert (tmp_path / "events.jsonl").read_bytes() == before


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "flipped parameters": lambda f: flip(f / "adapter_model.safetensors"),
    "flipped optimizer": lambda f: flip(f / "optimizer.safetensors"),
    "cut state": lambda f: os.truncate(f / "trainer_state.json", 10),
    "missing file": lambda f: (f / "optimizer.safetensors").unlink(),
    "no COMMIT": lambda f: (f / "COMMIT").unlink(),
    "flipped manifest": lambda f: flip(f / "manifest.json"),
    "empty COMMIT": lambda f: (f / "COMMIT").write_text(""),
    "only a file": lambda f: (shutil.rmtree(f), f.write_text("")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(undisturbed, tmp_path, damage):
    spec, other, _ = undisturbed
    work = tmp_path / "work"
    shutil.copytree(other, work)
    lines = (work / "events.jsonl").read_text().splitlines(keepends=True)
    cut = next(i for i, line in enumerate(lines) if '"export"' in line)
    (work / "events.jsonl").write_text("".join(lines[:cut]))  # as if it had been killed before the export
    shutil.rmtree(work / "out")
    newest = max((work / "checkpoints").iterdir(), key=lambda f: int(f.name.split("-")[1]))
    DAMAGE[damage](newest)
    run_train(work, spec)
    check_same_run(undisturbed, work)
    warnings = [e for e in events(work) if e["type"] == "warning" and e["code"] == "DAMAGED_CHECKPOINT"]
    assert len(warnings) == 1 and newest.name in warnings[0]["message"] and warnings[0]["advice"]


def test_a_full_disk_ends_in_a_clear_error_with_the_last_good_checkpoint_intact(undisturbed, tmp_path):
    spec, other, _ = undisturbed
    spec = {**spec, "training": {**spec["training"], "save_total_limit": 0}}
    # A limit on the size of files stands for the full disk: the optimizer's file no longer fits.
    size = (other / "checkpoints/step-20/optimizer.safetensors").stat().st_size
    work = tmp_path / "work"
    work.mkdir()
    (work / "spec.json").write_text(json.dumps(spec))
    process = start(work)
    while process.poll() is None and not (work / "checkpoints/step-3/COMMIT").exists():
        time.sleep(0.001)
    process.kill()
    process.wait()
    saved = {f.name for f in (work / "checkpoints").iterdir() if (f / "COMMIT").exists()}
    done = subprocess.run(["bash", "-c", f"ulimit -f {size // 1024 - 1}; exec '{BIN}/slipway-train' --spec '{work}/spec.json' "
                           f"--workdir '{work}'"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stderr
    error = [e for e in events(work) if e["type"] == "error"][-1]
    assert error["code"] in ("DISK_FULL", "IO") and "last good checkpoint" in error["message"] and error["advice"]
    assert {f.name for f in (work / "checkpoints").iterdir()} == saved
    run_train(work, spec)
    assert adapter_bytes(work) == adapter_bytes(other)
