# slipway-prep as a program: the contract's exit statuses and events, a kill in mid-run, and files others can read.
import json
import os
import pathlib
import resource
import signal
import subprocess
import time

import pytest

PREP = pathlib.Path(os.environ["SLIPWAY_BIN"]) / "slipway-prep"
CONTRACT = pathlib.Path(os.environ["SLIPWAY_SOURCE"]) / "tests/unit/spec/contracts/prep.json"


def rows(count, words=60):
    return [{"prompt": f"What is number {i}?", "completion": " ".join(f"word{(i * 31 + k * 7919) % 9973}" for k in range(words))} for i in range(count)]


def write_rows(path, items):
    path.write_text("".join(json.dumps(item) + "\n" for item in items))


def run(workdir, spec, **options):
    path = workdir.parent / "spec.json"
    path.write_text(json.dumps(spec))
    return subprocess.run([PREP, "--spec", path, "--workdir", workdir], capture_output=True, text=True, timeout=120, **options)


def events(workdir):
    return [json.loads(line) for line in (workdir / "events.jsonl").read_text().splitlines()]


@pytest.fixture
def workdir(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def test_the_contract_runs_once_and_then_has_nothing_to_do(workdir):
    items = rows(50)
    write_rows(workdir / "raw.jsonl", items + items[:5])
    spec = json.loads(CONTRACT.read_text())
    assert run(workdir, spec).returncode == 0
    written = events(workdir)
    assert [event["seq"] for event in written] == list(range(1, len(written) + 1))
    assert written[0]["type"] == "started" and written[-1] == {**written[-1], "type": "finished", "status": "succeeded"}
    assert {event["name"]: event["path"] for event in written if event["type"] == "artifact"} == {"dataset": "out", "report": "report.json"}
    progress = [event for event in written if event["type"] == "progress"]
    assert progress[-1]["done"] == progress[-1]["total"] == (workdir / "raw.jsonl").stat().st_size
    report = json.loads((workdir / "report.json").read_text())
    assert report["rows"] == {"read": 55, "kept": 50, "dropped": 5}
    train = [json.loads(line) for line in (workdir / "out/train.jsonl").read_text().splitlines()]
    held_out = [json.loads(line) for line in (workdir / "out/validation.jsonl").read_text().splitlines()]
    assert (len(train), len(held_out)) == (45, 5)
    kept = sorted(row["messages"][0]["content"] for row in train + held_out)
    assert kept == sorted(item["prompt"] for item in items)
    again = run(workdir, spec)
    assert again.returncode == 0 and events(workdir) == written


def test_datasets_of_hugging_face_read_the_output(workdir):
    tokenizers = pytest.importorskip("transformers")
    write_rows(workdir / "raw.jsonl", rows(3))
    assert run(workdir, json.loads(CONTRACT.read_text())).returncode == 0
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    from transformers.utils.chat_template_utils import render_jinja_template
    for line in (workdir / "out/train.jsonl").read_text().splitlines():
        text = render_jinja_template([json.loads(line)["messages"]], chat_template=template)[0][0]
        assert text.startswith("user: What is number")
    assert tokenizers


def test_a_wrong_spec_names_every_fault_and_exits_2(workdir):
    done = run(workdir, {"version": 1, "kind": "prep", "inputs": [{"path": "raw.jsonl", "format": "mesages"}], "splitt": {}})
    assert done.returncode == 2
    assert "inputs[0].format" in done.stderr and "did you mean messages?" in done.stderr
    assert "splitt is unknown; did you mean split?" in done.stderr
    assert [event["type"] for event in events(workdir)] == ["started", "error", "finished"]


def test_a_broken_line_exits_1_and_names_it(workdir):
    (workdir / "raw.jsonl").write_bytes(b'{"prompt":"a","completion":"b"}\n{"prompt":"\xff"}\n')
    done = run(workdir, json.loads(CONTRACT.read_text()))
    assert done.returncode == 1
    error = next(event for event in events(workdir) if event["type"] == "error")
    assert error["code"] == "INVALID_DATA" and "raw.jsonl line 2" in error["message"] and "UTF-8" in error["message"]
    assert not (workdir / "out" / "train.jsonl").exists()


@pytest.mark.parametrize("kill, status", [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_killed_in_mid_run_it_begins_anew_and_ends_the_same(workdir, tmp_path, kill, status):
    write_rows(workdir / "raw.jsonl", rows(4000, 120))
    spec = json.loads(CONTRACT.read_text())
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    process = subprocess.Popen([PREP, "--spec", tmp_path / "spec.json", "--workdir", workdir])
    deadline = time.monotonic() + 60
    while not ((workdir / "events.jsonl").exists() and "phase" in (workdir / "events.jsonl").read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(kill)
    assert process.wait(timeout=60) == status
    assert not (workdir / "out" / "train.jsonl").exists()
    assert run(workdir, spec).returncode == 0
    written = events(workdir)
    assert [event["seq"] for event in written] == list(range(1, len(written) + 1))
    other = tmp_path / "undisturbed"
    other.mkdir()
    write_rows(other / "raw.jsonl", rows(4000, 120))
    assert run(other, spec).returncode == 0
    for name in ("out/train.jsonl", "out/validation.jsonl", "report.json"):
        assert (workdir / name).read_bytes() == (other / name).read_bytes()


def test_a_full_disk_fails_and_leaves_no_half_file(workdir):
    write_rows(workdir / "raw.jsonl", rows(2000, 60))
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # stands in for a full disk
    done = run(workdir, {**json.loads(CONTRACT.read_text()), "operators": []}, preexec_fn=limit)
    assert done.returncode == 1, done.stderr
    assert events(workdir)[-2]["type"] == "error"
    assert not list(workdir.glob("out/*")) and not list(workdir.glob(".prep*"))
