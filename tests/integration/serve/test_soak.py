# Mixed requests with random disconnects beside adapter swaps, and then everything is as at the start: memory, pages, file
# descriptors, threads. SOAK_REQUESTS says how many of each; make soak-serve runs 10,000.
import collections
import concurrent.futures
import json
import os
import pathlib
import random
import socket
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from serve_process import Server  # noqa: E402
from tiny_model import random_text, write_adapters, write_model  # noqa: E402

COUNT = int(os.environ.get("SOAK_REQUESTS", "400"))
ADAPTERS = 6
SCHEMA = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}, "b": {"type": "boolean"}}, "required": ["a", "b"],
          "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("soak")
    write_model(folder / "model")
    write_adapters(folder / "adapters", ADAPTERS)
    return folder


@pytest.fixture(scope="module")
def server(files):
    flags = ["--adapters-in-memory", "3", "--kv-cache-tokens", "4096", "--speculative-tokens", "4", "--queue", "500",
             *[flag for i in range(3) for flag in ("--adapter", f"fixed{i}={files / 'adapters' / f'a{i}'}")]]
    running = Server(files / "log", *flags, model=files / "model")
    yield running
    assert running.stop() == 0


def resources(server):
    process = pathlib.Path("/proc") / str(server.process.pid)
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return {"memory_kib": int(status["VmRSS"].split()[0]), "threads": int(status["Threads"]),
            "files": len(list((process / "fd").iterdir()))}


def random_request(chance: random.Random):
    """Path and body of one request; some are wrong."""
    text = random_text(chance, 200)
    if chance.random() < 0.5:
        text = "You are one of many who begin alike, so that pages of the cache are shared. " * 3 + text
    model = chance.choice(["smollm2", "smollm2", "fixed0", "fixed1", "fixed2", "swap0", "swap1", "nobody"])
    fields = {"model": model, "max_tokens": chance.randrange(1, 24), "temperature": chance.choice([0, 0.7, 1.5]),
              "stream": chance.random() < 0.5, "priority": chance.randrange(-1, 2), "seed": chance.randrange(100)}
    fields.update(chance.choice([{}, {}, {"n": 2}, {"stop": ["e", "gg"]}, {"ignore_eos": True}, {"temperature": 9},
                                 {"logit_bias": {"5": 10}}, {"repetition_penalty": 1.2}, {"guided_regex": "[ab]+c"}]))
    kind = chance.randrange(10)
    if kind == 0:
        return "/v1/embeddings", {"model": model, "input": [text, text[::-1]]}
    if kind == 1:
        return "/tokenize", {"prompt": text}
    if kind < 5:
        return "/v1/completions", {**fields, "prompt": text, **chance.choice([{}, {"logprobs": 2}, {"echo": True, "logprobs": 1}])}
    fields["messages"] = [{"role": "user", "content": text}]
    fields.update(chance.choice([{}, {}, {"logprobs": True, "top_logprobs": 2}, {"tools": [TOOL], "tool_choice": "required"},
                                 {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}}]))
    if "guided_regex" in fields:
        fields.pop("response_format", None)
    return "/v1/chat/completions", fields


def one_request(server, seed):
    """Status, or "left" when the client went away in the middle."""
    chance = random.Random(seed)
    path, body = random_request(chance)
    connection = server.connect()
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        if chance.random() < 0.25:
            connection.sock.settimeout(chance.random() * 0.05)
            try:
                connection.sock.recv(chance.randrange(1, 2000))
            except TimeoutError:
                pass
            connection.sock.shutdown(socket.SHUT_RDWR)
            return "left"
        response = connection.getresponse()
        text = response.read().decode()
        if response.status == 200 and body.get("stream"):
            assert text.endswith("data: [DONE]\n\n") and '"error"' not in text, text[-500:]
        assert response.status in (200, 400, 404), (response.status, text)
        return response.status
    finally:
        connection.close()


def swap(server, files, i):
    name = f"swap{i % 2}"
    response, text = server.post("/v1/load_lora_adapter", lora_name=name, lora_path=str(files / "adapters" / f"a{i % ADAPTERS}"))
    assert response.status == 200, text
    if i % 7 == 0:
        server.post("/v1/completions", model=name, prompt="hello", max_tokens=2)
    assert server.post("/v1/unload_lora_adapter", lora_name=name)[0].status == 200


def run(server, files, first, count):
    with concurrent.futures.ThreadPoolExecutor(17) as pool:
        swaps = pool.submit(lambda: [swap(server, files, i) for i in range(count)])
        seen = collections.Counter(pool.map(lambda seed: one_request(server, seed), range(first, first + count)))
        swaps.result()
    deadline = time.monotonic() + 60
    while server.metric("vllm:num_requests_running") + server.metric("vllm:num_requests_waiting") > 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return seen


def test_everything_comes_back(server, files):
    known = server.post("/v1/completions", prompt="the same", temperature=0, max_tokens=20)[1]["choices"][0]["text"]
    run(server, files, 0, max(200, COUNT // 5))  # fills the caches
    before = resources(server)
    seen = run(server, files, 1_000_000, COUNT)
    after = resources(server)
    print(f"{COUNT} requests {dict(seen)}, {COUNT} swaps; before {before}, after {after}")
    assert seen[200] > COUNT // 4 and seen["left"] > COUNT // 8 and seen[404] > 0 and seen[400] > 0
    assert server.metric("vllm:kv_cache_usage_perc") == 0
    assert server.metric("slipway:adapters{") == 3 and server.metric("slipway:adapters_in_memory") <= 3
    assert after["threads"] == before["threads"] and after["files"] <= before["files"] + 2
    assert after["memory_kib"] < before["memory_kib"] * 1.1 + 8192
    assert server.post("/v1/completions", prompt="the same", temperature=0, max_tokens=20)[1]["choices"][0]["text"] == known
