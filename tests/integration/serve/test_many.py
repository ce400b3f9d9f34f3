# slipway-serve with more than one thing of a kind: 1,000 adapters of which 32 are in memory, several base models under one
# memory limit. Tiny random models: what matters is that each answer is the same as alone.
import concurrent.futures
import json
import pathlib
import random
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from serve_process import BIN, Server  # noqa: E402
from tiny_model import random_text, write_adapters, write_model  # noqa: E402

ADAPTERS = 1000


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    for i, name in enumerate("abc"):
        write_model(folder / name, seed=i)
    write_adapters(folder / "adapters", ADAPTERS)
    return folder


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def text_of(server, **fields):
    response, body = server.post("/v1/completions", **{"temperature": 1, "seed": 3, "max_tokens": 16, "ignore_eos": True, **fields})
    assert response.status == 200, body
    return body["choices"][0]["text"]


def load(server, files, name, i, **fields):
    response, text = server.post("/v1/load_lora_adapter", lora_name=name, lora_path=str(files / "adapters" / f"a{i}"), **fields)
    assert response.status == 200, text


def test_a_thousand_adapters_with_a_few_in_memory(files, tmp_path):
    server = Server(tmp_path / "log", "--adapters-in-memory", "32", "--queue", "100", model=files / "a")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: load(server, files, f"a{i}", i), range(ADAPTERS)))
        assert server.metric("slipway:adapters{") == ADAPTERS
        assert server.metric("slipway:adapters_in_memory") <= 32
        chosen = random.Random(1).sample(range(ADAPTERS), 60) + [None] * 4
        ask = lambda i: text_of(server, model="smollm2" if i is None else f"a{i}", prompt="the same beginning")
        alone = [ask(i) for i in chosen]
        assert len(set(alone)) > 50

        # All at once beside long streams, while others come and go.
        streams = [pool.submit(server.stream, "/v1/completions", model=f"a{i}", prompt="stream", temperature=1, seed=3, max_tokens=300,
                               ignore_eos=True) for i in range(2)]
        comings = pool.submit(lambda: [(load(server, files, "guest", i), server.post("/v1/unload_lora_adapter", lora_name="guest"))
                                       for i in range(40)])
        assert list(pool.map(ask, chosen)) == alone
        comings.result()
        for i, stream in enumerate(streams):
            streamed = "".join(event["choices"][0]["text"] for event in stream.result())
            assert streamed == text_of(server, model=f"a{i}", prompt="stream", max_tokens=300)
    assert server.metric("slipway:adapters{") == ADAPTERS and server.metric("slipway:adapters_in_memory") <= 32
    assert server.stop() == 0


# One of these models takes about 4.4 MiB with its cache: two do not fit.
SMALL = ["--memory-limit", "6MiB", "--queue", "100"]


@pytest.fixture(scope="module")
def several(files, tmp_path_factory):
    flags = ["--model", f"b={files / 'b'}", "--adapter", f"tuned={files / 'adapters' / 'a0'}", "--model", f"c={files / 'c'}", *SMALL]
    server = Server(tmp_path_factory.mktemp("several") / "log", *flags, model=files / "a")
    yield server
    assert server.stop() == 0


def test_a_model_is_loaded_when_it_is_first_asked_for(several):
    assert [model["id"] for model in several.request("GET", "/v1/models")[1]["data"]] == ["smollm2", "b", "tuned", "c"]
    assert several.request("GET", "/v1/models/tuned")[1]["parent"] == "b"
    assert several.metric("slipway:model_loaded") == 0
    texts = {name: text_of(several, model=name, prompt="hello") for name in ("smollm2", "b", "tuned", "c")}
    assert len(set(texts.values())) == 4
    assert several.metric("slipway:model_loaded") == 1 and several.metric("slipway:model_drops_total") == 2
    assert several.metric("vllm:generation_tokens_total", "b") == 32  # the count goes on though the model is gone
    assert several.post("/v1/completions", model="d", prompt="x")[0].status == 404


def test_requests_for_models_that_do_not_fit_together_are_all_answered(several):
    names = ["smollm2", "b", "tuned", "c"] * 8
    prompts = [random_text(random.Random(i), 50) for i in range(len(names))]
    ask = lambda name, prompt: text_of(several, model=name, prompt=prompt)
    alone = [ask(*pair) for pair in zip(names[:8], prompts[:8])]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, names, prompts))[:8] == alone
    assert several.metric("slipway:model_loaded") == 1


def test_who_leaves_while_a_model_waits_for_its_place_is_forgotten(several):
    text_of(several, model="c", prompt="x")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        busy = pool.submit(text_of, several, model="c", prompt="x", max_tokens=1000)
        wait_until(lambda: several.metric("vllm:num_requests_running", "c") == 1)
        connection = several.connect()
        connection.request("POST", "/v1/completions", json.dumps({"model": "b", "prompt": "x"}), {"Content-Type": "application/json"})
        wait_until(lambda: several.metric("vllm:num_requests_waiting", "b") == 1)
        connection.close()
        wait_until(lambda: several.metric("vllm:num_requests_waiting", "b") == 0)
        wait_until(lambda: several.metric("vllm:request_success_total", 'b",finished_reason="abort') == 1)
        assert len(busy.result()) > 0
    assert several.metric("slipway:model_loaded", "c") == 1


def test_an_adapter_belongs_to_its_base_model_also_when_that_comes_back(several, files):
    load(several, files, "mine", 7, base_model_name="c")
    text = text_of(several, model="mine", prompt="hello")
    assert text != text_of(several, model="c", prompt="hello")
    text_of(several, model="b", prompt="hello")
    assert several.metric("slipway:model_loaded", "c") == 0
    assert text_of(several, model="mine", prompt="hello") == text
    assert several.post("/v1/load_lora_adapter", lora_name="x", lora_path="x", base_model_name="tuned")[0].status == 400
    text_of(several, model="b", prompt="hello")
    assert several.post("/v1/unload_lora_adapter", lora_name="mine")[0].status == 200
    assert several.post("/v1/completions", model="mine", prompt="x")[0].status == 404


def test_a_model_above_the_limit_is_refused_at_the_start(files):
    done = subprocess.run([BIN / "slipway-serve", "--model", files / "a", "--memory-limit", "3MiB"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "the model a takes about" in done.stderr and "the memory limit is 3 MiB" in done.stderr


def test_an_adapter_that_is_gone_costs_only_itself(files, tmp_path):
    server = Server(tmp_path / "log", "--model", f"b={files / 'b'}", "--adapter", f"gone={tmp_path / 'nowhere'}", model=files / "a")
    assert len(text_of(server, model="b", prompt="hello")) > 0
    response, body = server.post("/v1/completions", model="gone", prompt="hello")
    assert response.status == 503 and "nowhere" in body["error"]["message"]
    assert server.stop() == 0


def test_an_idle_model_is_dropped_and_comes_back(files, tmp_path):
    server = Server(tmp_path / "log", "--idle-unload-s", "0.2", model=files / "a")
    text = text_of(server, prompt="hello")
    wait_until(lambda: server.metric("slipway:model_loaded") == 0)
    assert text_of(server, prompt="hello") == text
    assert server.metric("slipway:model_loads_total") == 2
    assert server.stop() == 0
