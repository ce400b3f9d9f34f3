# The four engines one after the other from a shell, by the examples of the engine contract: prepare, train, evaluate
# before and after, serve. Only paths and sizes of the examples are changed.
import json
import os
import pathlib
import subprocess
import sys

import pytest

SOURCE = pathlib.Path(os.environ["SLIPWAY_SOURCE"])
BIN = pathlib.Path(os.environ["SLIPWAY_BIN"])
CONTRACTS = SOURCE / "tests/unit/spec/contracts"
sys.path.insert(0, str(SOURCE / "tests/integration/serve"))
from serve_process import MODEL, Server  # noqa: E402


def contract(kind):
    return json.loads((CONTRACTS / f"{kind}.json").read_text())


def run(kind, spec, workdir):
    """Runs one engine to its end and returns its events."""
    workdir.mkdir(exist_ok=True)
    path = workdir / f"{kind}.json"
    path.write_text(json.dumps(spec))
    done = subprocess.run([BIN / f"slipway-{kind}", "--spec", path, "--workdir", workdir], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in (workdir / "events.jsonl").read_text().splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[0]["type"] == "started" and events[0]["engine"] == f"slipway-{kind}"
    assert events[-1]["type"] == "finished" and events[-1]["status"] == "succeeded"
    return events


def artifact(events, name):
    return next(event["path"] for event in events if event["type"] == "artifact" and event["name"] == name)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Questions about invented colours: easy to learn, unknown before."""
    workdir = tmp_path_factory.mktemp("prep")
    colours = ["red", "blue", "green", "yellow", "black", "white"]
    rows = [{"prompt": f"Which colour has the flag of planet number {i}?", "completion": f"The flag of planet number {i} is {colours[i * i % 6]}."}
            for i in range(48)]
    (workdir / "raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]))
    spec = contract("prep")
    spec["operators"] = [operator for operator in spec["operators"] if operator["type"] != "dedup_near"]  # these rows are alike on purpose
    events = run("prep", spec, workdir)
    report = json.loads((workdir / "report.json").read_text())
    assert report["rows"] == {"read": 49, "kept": 48, "dropped": 1}
    return workdir / artifact(events, "dataset")


@pytest.fixture(scope="module")
def adapter(prepared, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("train")
    spec = contract("train")
    spec["model"]["path"] = str(MODEL)
    spec["data"] = {"train": [{"path": str(prepared / "train.jsonl"), "format": "messages"}],
                    "validation": [{"path": str(prepared / "validation.jsonl"), "format": "messages"}]}
    spec["training"].update(max_steps=6, per_device_train_batch_size=2, max_length=128, eval_steps=6, save_steps=6, learning_rate=1e-3)
    spec["output"] = {"adapter": "out/adapter"}
    events = run("train", spec, workdir)
    losses = [event["values"]["loss"] for event in events if event["type"] == "metric" and "loss" in event["values"]]
    assert len(losses) == 6 and losses[-1] < losses[0]
    return workdir / artifact(events, "adapter")


def perplexity(workdir, prepared, adapter):
    spec = contract("eval")
    spec["model"] = {"path": str(MODEL), "adapter": str(adapter or ""), "dtype": "f32"}
    spec["tasks"][0]["data"]["path"] = str(prepared / "validation.jsonl")
    run("eval", spec, workdir)
    return json.loads((workdir / "results.json").read_text())["results"]["held_out"]["perplexity,none"]


def test_the_trained_adapter_is_better_on_held_out_rows(prepared, adapter, tmp_path):
    base = perplexity(tmp_path / "base", prepared, None)
    tuned = perplexity(tmp_path / "tuned", prepared, adapter)
    assert 1 < tuned < base


def test_the_trained_adapter_is_served_beside_its_base(adapter, tmp_path):
    server = Server(tmp_path / "log", "--adapter", f"flags={adapter}")
    messages = [{"role": "user", "content": "Which colour has the flag of planet number 7?"}]
    answers = {}
    for model in ("smollm2", "flags"):
        response, body = server.post("/v1/chat/completions", model=model, messages=messages, temperature=0, max_tokens=16)
        assert response.status == 200, body
        answers[model] = body["choices"][0]["message"]["content"]
    assert server.stop() == 0
    assert answers["flags"] != answers["smollm2"]
    assert "planet number 7" in answers["flags"]
