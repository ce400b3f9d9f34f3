"""Several ranks: the curve of one, whoever computes it; and what happens when one of them is lost."""
import fcntl
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

import pytest


from conftest_models import make_model, write_texts
from reference import BIN, assert_same_update, events, load_tensors, metrics, run_train, spec_for

LORA = {"type": "lora", "r": 4, "lora_alpha": 8}
STEPS = 8


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("ranks") / "model")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("ranks") / "train.jsonl"
    write_texts(path, 90)
    return path


def job(model, data, method, ranks=1, strategy="ddp", of=4, **training):
    """The same global batch of 8 rows for any number of ranks."""
    spec = spec_for(model, data, method,
                    {"max_steps": STEPS, "per_device_train_batch_size": 2, "gradient_accumulation_steps": of // ranks,
                     "shuffle": True, "packing": True, "max_length": 96, **training}, validation=data)
    spec["parallel"] = {"ranks": ranks, "strategy": strategy}
    if method["type"] == "full":
        spec["output"] = {"merged": "out/merged"}
    return spec


def curve(found, key="loss"):
    return [v[key] for _, v in sorted(metrics(found, key).items())]


def assert_same_curve(found, expected, tolerance=1e-5):
    for key in ("loss", "grad_norm"):
        ours, theirs = [[v[key] for _, v in sorted(metrics(x, "loss").items())] for x in (found, expected)]
        assert len(ours) == len(theirs) and max(abs(a / b - 1) for a, b in zip(ours, theirs)) < tolerance, (key, ours, theirs)


@pytest.mark.parametrize("method", [LORA, {"type": "full", "freeze_layers": 1}], ids=["lora", "full"])
def test_two_and_four_ranks_follow_the_curve_of_one(tmp_path, model, data, method):
    one = run_train(tmp_path / "1", job(model, data, method, eval_steps=4))
    for ranks, strategy in ((2, "ddp"), (4, "fsdp")):
        found = run_train(tmp_path / f"{ranks}-{strategy}", job(model, data, method, ranks, strategy, eval_steps=4))
        assert_same_curve(found, one)
        assert max(abs(a / b - 1) for a, b in zip(curve(found, "eval_loss"), curve(one, "eval_loss"))) < 1e-5
        assert metrics(found, "loss")[STEPS]["ranks"] == ranks and metrics(found, "loss")[STEPS]["mfu"] > 0
        assert metrics(found, "loss")[STEPS]["trained_tokens"] == metrics(one, "loss")[STEPS]["trained_tokens"]
        start, folder = load_tensors(model / "model.safetensors"), f"{ranks}-{strategy}"
        ours, theirs = (load_tensors(tmp_path / f / "out/merged/model.safetensors") for f in (folder, "1"))
        assert_same_update(ours, theirs, {k: v for k, v in start.items() if k in ours}, 1e-3)


def test_preferences_on_several_ranks(tmp_path, model):
    path = tmp_path / "pairs.jsonl"
    words = "harbour keel anchor mast rope tide wind sail".split()
    path.write_text("".join(json.dumps({"prompt": f"{a} {b}", "chosen": " keel sail", "rejected": " rope " + a}) + "\n"
                            for a in words for b in words[:4]))
    for objective, strategy in (({"type": "dpo"}, "fsdp"), ({"type": "kto"}, "ddp"), ({"type": "kto"}, "fsdp")):
        found = {}
        for ranks in (1, 2):
            spec = job(model, path, LORA, ranks, strategy if ranks > 1 else "ddp", packing=False)
            spec["objective"] = objective
            for source in spec["data"]["train"] + spec["data"]["validation"]:
                source["format"] = "preference"
            found[ranks] = run_train(tmp_path / f"{objective['type']}-{strategy}-{ranks}", spec)
        assert_same_curve(found[2], found[1])


@pytest.mark.parametrize("name, method, training, tolerance", [
    ("adafactor", {"type": "full"}, {"optim": "adafactor"}, 1e-5), ("8 bits", {"type": "full"}, {"optim": "adamw_8bit"}, 1e-5),
    ("muon", {"type": "full"}, {"optim": "muon"}, 1e-4),  # iterates in bf16
    ("dora", {**LORA, "use_dora": True}, {}, 1e-5), ("nf4", {**LORA, "quantization": "nf4"}, {}, 1e-5),
    ("int8", {**LORA, "quantization": "int8"}, {}, 1e-5)])
def test_what_looks_at_whole_matrices_is_the_same_when_they_are_shared_out(tmp_path, model, data, name, method, training, tolerance):
    """Begun shared out between two, gone on with alone: the state is one rank's own."""
    one = run_train(tmp_path / "1", job(model, data, method, **training))
    parts = job(model, data, method, 2, "fsdp", save_steps=4, **training)
    found = run_train(tmp_path / "2", parts)
    assert_same_curve(found, one, tolerance)
    work = tmp_path / "2"
    lines = (work / "events.jsonl").read_text().splitlines(keepends=True)  # as if killed behind the first checkpoint
    (work / "events.jsonl").write_text("".join(lines[:next(i for i, l in enumerate(lines) if '"type":"checkpoint"' in l) + 1]))
    shutil.rmtree(work / "checkpoints/step-8")
    ranks = start_by_hand(work, parts, 1)
    assert ranks[0].wait(timeout=120) == 0, ranks[0].stderr.read()
    assert_same_curve(events(work), one, tolerance)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start_by_hand(work, spec, size):
    """As torchrun starts them."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "spec.json").write_text(json.dumps(spec))
    port = str(free_port())
    return [subprocess.Popen([BIN / "slipway-train", "--spec", work / "spec.json", "--workdir", work],
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                             env={**os.environ, "RANK": str(r), "WORLD_SIZE": str(size), "LOCAL_RANK": str(r), "OMP_NUM_THREADS": "1",
                                  "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}) for r in range(size)]


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def checkpoints(work):
    return sorted(int(f.parent.name.split("-")[1]) for f in work.glob("checkpoints/step-*/COMMIT"))


def test_checkpoints_do_not_depend_on_the_number_of_ranks(tmp_path, model, data):
    """Begun by two ranks with a shared-out model, gone on with by three that torchrun's variables describe, ended alone."""
    one = run_train(tmp_path / "1", job(model, data, LORA, save_steps=2, max_steps=60))
    work = tmp_path / "work"
    spec = job(model, data, LORA, save_steps=2, save_total_limit=0, max_steps=60)
    for size in (2, 3):
        spec["parallel"]["strategy"] = "fsdp" if size == 2 else "ddp"
        saved = max(checkpoints(work), default=0)
        ranks = start_by_hand(work, spec, size)
        wait_for(lambda: any(r.poll() is not None for r in ranks) or max(checkpoints(work), default=0) > saved)
        for rank in ranks:
            rank.send_signal(signal.SIGTERM)
        for rank in ranks:
            assert rank.wait(timeout=60) in (0, 143), rank.stderr.read()
    assert_same_curve(run_train(work, spec), one)


def children_of(launcher):
    """Rank -> process, of those that are there and have said which they are."""
    found = {}
    for child in pathlib.Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split():
        try:
            variables = dict(v.split("=", 1) for v in pathlib.Path(f"/proc/{child}/environ").read_text().split("\0") if "=" in v)
            found[int(variables["RANK"])] = int(child)
        except (OSError, KeyError):
            pass  # ended just now, or only begins
    return found


@pytest.mark.parametrize("lost, how", [(0, signal.SIGKILL), (2, signal.SIGSTOP)])
def test_a_lost_rank_is_named_and_comes_back(tmp_path, model, data, lost, how):
    """The ranks are children of the process that the agent started. One that is lost twice in a row comes back later."""
    slow = {"max_steps": 60, "save_steps": 10}
    one = run_train(tmp_path / "1", job(model, data, LORA, **slow))
    work = tmp_path / "work"
    work.mkdir()
    (work / "spec.json").write_text(json.dumps(job(model, data, LORA, 4, "ddp", **slow)))
    launcher = subprocess.Popen([BIN / "slipway-train", "--spec", work / "spec.json", "--workdir", work],
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: launcher.poll() is not None or checkpoints(work))
    began = time.monotonic()
    children = [children_of(launcher)]
    os.kill(children[0][lost], how)
    wait_for(lambda: launcher.poll() is not None or "RANK_LOST" in (work / "events.jsonl").read_text())
    children.append(children_of(launcher))
    os.kill(children[1][lost], signal.SIGKILL)
    assert launcher.wait(timeout=120) == 0, launcher.stderr.read()
    said = launcher.stderr.read()
    found = events(work)
    losses = [e for e in found if e["type"] == "warning" and e["code"] == "RANK_LOST"]
    assert len(losses) == 2 and all(f"rank {lost} of 4" in e["message"] and e["advice"] for e in losses)
    assert_same_curve(found, one)
    started = [line for line in said.splitlines() if "starting" in line or "again" in line]
    assert [line.split(": ")[1] for line in started] == ["starting 4 ranks", "starting 3 ranks", "4 ranks again"]
    assert metrics(found, "ranks")[slow["max_steps"]]["ranks"] == 4
    assert [e["step"] for e in found if e["type"] == "metric" and "loss" in e["values"]] == list(range(1, slow["max_steps"] + 1))
    assert time.monotonic() - began < 100
    assert not any(pathlib.Path(f"/proc/{child}").exists() for start in children for child in start.values())


def has_open(process, path):
    try:
        return any(path.samefile(file) for file in pathlib.Path(f"/proc/{process.pid}/fd").iterdir())
    except OSError:
        return False  # closed while it was looked at


def test_ranks_of_a_killed_launcher_that_still_end_are_waited_for(tmp_path, model, data):
    """This test holds the lock as they do."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "spec.json").write_text(json.dumps(job(model, data, LORA, 2)))
    with open(work / "engine.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        launcher = subprocess.Popen([BIN / "slipway-train", "--spec", work / "spec.json", "--workdir", work],
                                    stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: launcher.poll() is not None or has_open(launcher, work / "engine.lock"))
    assert launcher.wait(timeout=60) == 0, launcher.stderr.read()


def test_ranks_started_by_hand_name_the_lost_one(tmp_path, model, data):
    work = tmp_path / "work"
    ranks = start_by_hand(work, job(model, data, LORA, max_steps=2000, save_steps=5), 3)
    wait_for(lambda: any(r.poll() is not None for r in ranks) or checkpoints(work))
    ranks[1].kill()
    assert ranks[0].wait(timeout=30) == 1 and ranks[2].wait(timeout=30) == 1
    error = next(e for e in events(work) if e["type"] == "error")
    assert error["code"] == "RANK_LOST" and "rank 1 of 3" in error["message"] and error["advice"]
    assert "rank 1 of 3" in ranks[2].stderr.read()


def test_too_few_ranks_end_the_job(tmp_path, model, data):
    work = tmp_path / "work"
    work.mkdir()
    spec = job(model, data, LORA, 2, max_steps=2000, save_steps=5)
    spec["parallel"]["min_ranks"] = 2
    (work / "spec.json").write_text(json.dumps(spec))
    launcher = subprocess.Popen([BIN / "slipway-train", "--spec", work / "spec.json", "--workdir", work],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: launcher.poll() is not None or checkpoints(work))
    child = int(pathlib.Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()[1])
    os.kill(child, signal.SIGKILL)
    assert launcher.wait(timeout=60) == 1
    error = [e for e in events(work) if e["type"] == "error"][-1]
    assert error["code"] == "RANK_LOST" and "min_ranks" in error["message"]


def test_what_one_rank_cannot_do_the_job_tells(tmp_path, model, data):
    data2 = tmp_path / "broken.jsonl"
    data2.write_text('{"text": "keel"}\n{"text": 3}\n')
    found = run_train(tmp_path / "data", job(model, data2, LORA, 2), expect=1)
    error = next(e for e in found if e["type"] == "error")
    assert error["code"] == "INVALID_DATA" and "line 2" in error["message"]
