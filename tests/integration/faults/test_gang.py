"""One training over two nodes, each with an agent of its own: kill -9 of a rank in the middle ends with the very adapter of a
training that was left alone, from rank 0's last checkpoint."""
import json
import os
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from stack import stack_with_data, steps_done, wait_until  # noqa: E402

STEPS = 60


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with stack_with_data(tmp_path_factory.mktemp("gang"), 40, further=["second"], hidden_size=64, intermediate_size=160) as ready:
        yield ready


def start_run(stack, name):
    return stack.ask("run", "start", "fine-tune-and-deploy", "--model", "tiny", "--dataset", "rows", "--name", name,
                     "--ranks", 2, "--nodes", 2, "--max-steps", STEPS, "--save-steps", 10, "--eval-steps", 0,
                     "--validation-share", "0.1", "--max-length", 96, "--r", 4, "--precision", "f32",
                     "--no-require-improvement", "--no-deploy", "--output-model", name)["id"]


def engines(stack):
    """Rank -> its running trainer, on whichever node."""
    found = {}
    for data in (stack.agent_data, *(data for _, data in stack.further)):
        if engine := stack.engine("train", data):
            found[json.loads((engine["folder"] / "start.json").read_text())["gang"].get("rank", 0)] = engine
    return found if len(found) == 2 else None


def training(run):
    return next(task for task in run["tasks"] if task["name"] == "train")


def test_a_killed_rank_costs_no_step(stack):
    alone = stack.ended(start_run(stack, "alone"))
    (attempt,) = training(alone)["attempts"]
    assert [rank["rank"] for rank in attempt["ranks"]] == [0, 1]
    assert len({rank["nodeId"] for rank in attempt["ranks"]}) == 2, "a rank on each node"

    run = start_run(stack, "disturbed")
    ranks = wait_until(lambda: engines(stack), "both ranks run")
    wait_until(lambda: steps_done(ranks[0]["workdir"]) >= 25, "step 25")
    os.kill(ranks[1]["pid"], signal.SIGKILL)
    disturbed = stack.ended(run)
    first, second = training(disturbed)["attempts"]
    assert (first["state"], second["state"]) == ("LOST", "SUCCEEDED")
    assert stack.adapter_of(disturbed) == stack.adapter_of(alone)
    told = [event["message"] for event in stack.lines("run", "logs", run, "--events") if event.get("message")]
    assert any("rank 1 on node" in message and "signal 9" in message for message in told), told
