"""One training over two nodes, each with an agent of its own: kill -9 of a rank in the middle ends with the very adapter of a
training that was left alone, from rank 0's last checkpoint."""
import json
import os
import random
import signal
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "oracle" / "train")]
from conftest_models import WORDS, make_model  # noqa: E402
from stack import Stack, wait_until  # noqa: E402

STEPS = 60


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gang")
    stack = Stack(folder)
    try:
        stack.start_backend()
        stack.sign_in()
        stack.start_agent()
        stack.start_further_agent("second")
        make_model(folder / "model", hidden_size=64, intermediate_size=160)
        rng = random.Random(3)
        rows = [{"question": " ".join(rng.choices(WORDS, k=8)) + "?", "answer": " ".join(rng.choices(WORDS, k=30))}
                for _ in range(40)]
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        stack.cli("model", "import", folder / "model", "--name", "tiny")
        stack.cli("dataset", "import", folder / "rows.jsonl", "--name", "rows", "--format", "prompt_completion",
                  "--map", "prompt=question", "--map", "completion=answer")
        wait_until(lambda: len(stack.ask("node", "list")["nodes"]) == 2, "both nodes have joined")
        yield stack
    finally:
        stack.stop()


def start_run(stack, name):
    return stack.ask("run", "start", "fine-tune-and-deploy", "--model", "tiny", "--dataset", "rows", "--name", name,
                     "--ranks", 2, "--nodes", 2, "--max-steps", STEPS, "--save-steps", 10, "--eval-steps", 0,
                     "--validation-share", "0.1", "--max-length", 96, "--r", 4, "--precision", "f32",
                     "--no-require-improvement", "--no-deploy", "--output-model", name)["id"]


def ended(stack, run):
    stack.cli("run", "watch", run)
    found = stack.ask("run", "show", run)
    assert found["state"] == "RUN_STATE_SUCCEEDED", json.dumps(found, indent=1)
    return found


def training(run):
    return next(task for task in run["tasks"] if task["name"] == "train")


def adapter_of(stack, run):
    files = stack.ask("model", "show", run["modelVersionId"])["artifact"]["files"]
    return {file["path"]: file["sha256"] for file in files}["adapter_model.safetensors"]


def engines(stack):
    """Rank -> its running trainer, on whichever node."""
    found = {}
    for data in (stack.agent_data, *(data for _, data in stack.further)):
        if engine := stack.engine("train", data):
            found[json.loads((engine["folder"] / "start.json").read_text())["gang"].get("rank", 0)] = engine
    return found if len(found) == 2 else None


def last_step(workdir):
    try:
        lines = (workdir / "events.jsonl").read_text().splitlines()
    except OSError:
        return 0
    return max((json.loads(line)["step"] for line in lines if '"type":"metric"' in line and '"loss"' in line), default=0)


def test_a_killed_rank_costs_no_step(stack):
    alone = ended(stack, start_run(stack, "alone"))
    (attempt,) = training(alone)["attempts"]
    assert [rank["rank"] for rank in attempt["ranks"]] == [0, 1]
    assert len({rank["nodeId"] for rank in attempt["ranks"]}) == 2, "a rank on each node"

    run = start_run(stack, "disturbed")
    ranks = wait_until(lambda: engines(stack), "both ranks run")
    wait_until(lambda: last_step(ranks[0]["workdir"]) >= 25, "step 25")
    os.kill(ranks[1]["pid"], signal.SIGKILL)
    disturbed = ended(stack, run)
    first, second = training(disturbed)["attempts"]
    assert (first["state"], second["state"]) == ("LOST", "SUCCEEDED")
    assert adapter_of(stack, disturbed) == adapter_of(stack, alone)
    told = [event["message"] for event in stack.lines("run", "logs", run, "--events") if event.get("message")]
    assert any("rank 1 on node" in message and "signal 9" in message for message in told), told
