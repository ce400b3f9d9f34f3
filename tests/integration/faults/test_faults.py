"""kill -9 of the trainer, of the agent and of the backend, one after the other in the middle of one run: it ends by itself,
with the very bytes of a run that was left alone, and no event or log line is missing or doubled."""
import json
import os
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from stack import stack_with_data, steps_done, wait_until  # noqa: E402

STEPS = 200


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with stack_with_data(tmp_path_factory.mktemp("faults"), 60, hidden_size=128, intermediate_size=320) as ready:
        yield ready


def start_run(stack, name):
    return stack.ask("run", "start", "fine-tune-and-deploy", "--model", "tiny", "--dataset", "rows", "--name", name,
                     "--max-steps", STEPS, "--save-steps", 20, "--eval-steps", 80, "--validation-share", "0.05", "--max-length", 128, "--r", 4,
                     "--learning-rate", "0.001", "--no-require-improvement", "--no-deploy", "--output-model", name)["id"]


@pytest.fixture(scope="module")
def disturbed(stack, tmp_path_factory):
    """The run that everything happened to, and the trainer's own files, kept by links beyond the work folder's end."""
    kept = tmp_path_factory.mktemp("kept")
    run = start_run(stack, "disturbed")

    trainer = wait_until(lambda: stack.engine("train"), "the trainer runs")
    workdir = trainer["workdir"]
    wait_until(lambda: steps_done(workdir) >= 30, "step 30")
    for name in ("events.jsonl", "stdout.log", "stderr.log"):
        os.link(workdir / name, kept / name)

    assert steps_done(workdir) < STEPS
    os.kill(trainer["pid"], signal.SIGKILL)
    again = wait_until(lambda: (found := stack.engine("train")) and found["pid"] != trainer["pid"] and found,
                       "the agent starts the trainer again")
    wait_until(lambda: steps_done(workdir) >= 70, "step 70")

    assert steps_done(workdir) < STEPS
    stack.agent.kill()
    stack.agent.wait()
    assert Path(f"/proc/{again['pid']}").exists(), "the trainer outlives its agent"
    reached = steps_done(workdir)
    wait_until(lambda: steps_done(workdir) > reached, "the trainer goes on without an agent")
    stack.start_agent()

    wait_until(lambda: steps_done(workdir) >= 110, "step 110")
    assert steps_done(workdir) < STEPS
    stack.backend.kill()
    stack.backend.wait()
    reached = steps_done(workdir)
    wait_until(lambda: steps_done(workdir) > reached, "the trainer goes on without a backend")
    stack.start_backend()
    return stack.ended(run), kept, again


def test_the_run_ends_by_itself_with_the_bytes_of_an_undisturbed_run(stack, disturbed):
    run, _, _ = disturbed
    alone = stack.ended(start_run(stack, "alone"))
    assert stack.adapter_of(run) == stack.adapter_of(alone)
    assert run["results"]["tuned_perplexity"] == alone["results"]["tuned_perplexity"]
    assert run["results"]["tuned_perplexity"] < run["results"]["base_perplexity"]


def test_no_event_is_missing_or_doubled(stack, disturbed):
    run, kept, _ = disturbed
    written = (kept / "events.jsonl").read_text().splitlines()
    events = [event for event in stack.lines("run", "logs", run["id"], "--events") if event["task"] == "train" and event["json"]]
    assert [json.loads(event["json"]) for event in events] == [json.loads(line) for line in written]
    assert [json.loads(line)["seq"] for line in written] == list(range(1, len(written) + 1))
    losses = [json.loads(line)["step"] for line in written if '"loss"' in line and '"metric"' in line]
    assert losses == list(range(1, STEPS + 1)), "each step's loss once, across the trainer's death"


def test_no_log_line_is_missing_or_doubled(stack, disturbed):
    run, kept, _ = disturbed
    lines = stack.lines("run", "logs", run["id"], "--task", "train")
    for stream in ("stdout", "stderr"):
        stored = [line["text"] for line in lines if line["stream"] == stream]
        assert stored == (kept / f"{stream}.log").read_text().splitlines()
    notes = [line["text"] for line in lines if line["text"].startswith("slipway-agent:")]
    assert len(notes) == 1 and "signal 9" in notes[0], "what happened to the trainer is told once"


def test_nothing_of_it_counts_as_a_new_attempt(disturbed):
    run, _, _ = disturbed
    assert all(len(task["attempts"]) <= 1 for task in run["tasks"])
