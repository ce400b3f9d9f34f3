# slipway-serve with SmolLM2 over real sockets: OpenAI's API, adapters, limits, and its end.
import concurrent.futures
import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from serve_process import BIN, MODEL, Server  # noqa: E402

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("serve") / "log")
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def adapters(tmp_path_factory):
    """Two tiny adapters by peft: one that changes nothing (B is zero), one that changes all."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM
    folder = tmp_path_factory.mktemp("adapters")
    config = LlamaConfig(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
                         num_key_value_heads=3, head_dim=64, vocab_size=8, tie_word_embeddings=True)
    torch.manual_seed(1)
    model = get_peft_model(LlamaForCausalLM(config), LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    model.save_pretrained(folder / "neutral")
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder / "strong")
    return folder


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def chat(server, **fields):
    response, body = server.post("/v1/chat/completions", **{"messages": QUESTION, "temperature": 0, "max_tokens": 12, **fields})
    assert response.status == 200, body
    return body


def test_chat_answers_the_question(server):
    body = chat(server, max_tokens=30)
    assert "Paris" in body["choices"][0]["message"]["content"]
    assert body["object"] == "chat.completion" and body["model"] == "smollm2"
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]


def test_a_stream_says_the_same_as_a_whole_answer(server):
    whole = chat(server, max_tokens=30)
    events = server.stream("/v1/chat/completions", messages=QUESTION, temperature=0, max_tokens=30, stream_options={"include_usage": True})
    assert events[0]["choices"][0]["delta"]["role"] == "assistant"
    text = "".join(event["choices"][0]["delta"].get("content", "") for event in events if event["choices"])
    assert text == whole["choices"][0]["message"]["content"]
    assert events[-2]["choices"][0]["finish_reason"] == "stop"
    assert events[-1]["usage"] == whole["usage"] and events[-1]["choices"] == []
    assert len({event["id"] for event in events}) == 1


def test_stop_strings_end_the_answer_and_do_not_show(server):
    for events in (None, True):
        fields = dict(messages=QUESTION, temperature=0, max_tokens=30, stop=["Par", "never"])
        if events:
            pieces = server.stream("/v1/chat/completions", **fields)
            text = "".join(piece["choices"][0]["delta"].get("content", "") for piece in pieces)
            reason = pieces[-1]["choices"][0]["finish_reason"]
        else:
            body = chat(server, **fields)
            text, reason = body["choices"][0]["message"]["content"], body["choices"][0]["finish_reason"]
        assert "P" not in text and "capital" in text
        assert reason == "stop"


def test_text_completion_with_every_kind_of_prompt(server):
    tokens = server.post("/tokenize", prompt="The sky is")[1]
    assert tokens["count"] == len(tokens["tokens"]) and tokens["max_model_len"] == 1024
    answers = []
    for prompt in ("The sky is", tokens["tokens"]):
        response, body = server.post("/v1/completions", prompt=prompt, temperature=0, max_tokens=5)
        assert response.status == 200 and body["object"] == "text_completion"
        answers.append(body["choices"][0]["text"])
    assert answers[0] == answers[1]
    several = server.post("/v1/completions", prompt=["The sky is", "One, two,"], temperature=0, max_tokens=5, echo=True)[1]
    assert [choice["index"] for choice in several["choices"]] == [0, 1]
    assert several["choices"][0]["text"] == "The sky is" + answers[0]
    assert server.post("/detokenize", tokens=tokens["tokens"])[1]["prompt"] == "The sky is"


def test_tokenize_renders_a_chat(server):
    body = server.post("/tokenize", messages=QUESTION, return_token_strs=True)[1]
    assert body["token_strs"][0] == "<|im_start|>"
    assert chat(server)["usage"]["prompt_tokens"] == body["count"]


def test_a_seed_makes_sampling_repeatable(server):
    fields = dict(temperature=1.0, seed=7, max_tokens=16)
    first = chat(server, **fields)["choices"][0]["message"]["content"]
    assert chat(server, **fields)["choices"][0]["message"]["content"] == first
    several = chat(server, **{**fields, "n": 3})["choices"]
    assert several[0]["message"]["content"] == first
    assert len({choice["message"]["content"] for choice in several}) > 1


def test_logprobs_of_greedy_tokens_are_the_best_ones(server):
    content = chat(server, logprobs=True, top_logprobs=2, max_tokens=4)["choices"][0]["logprobs"]["content"]
    assert len(content) == 4
    for token in content:
        assert token["logprob"] <= 0 and len(token["top_logprobs"]) == 2
        assert token["top_logprobs"][0]["token"] == token["token"]
        assert bytes(token["bytes"]).decode() == token["token"]


def test_min_tokens_and_ignore_eos(server):
    body = chat(server, max_tokens=40, min_tokens=40, ignore_eos=True)
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 40


def test_requests_at_once_answer_as_each_alone(server):
    questions = ["What is the capital of France?", "Say hello.", "Count to five.", "What is water made of?"]
    ask = lambda text: chat(server, messages=[{"role": "user", "content": text}], max_tokens=12)["choices"][0]["message"]["content"]
    alone = [ask(text) for text in questions]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, questions)) == alone


def test_characters_of_several_tokens_come_whole(server):
    events = server.stream("/v1/completions", prompt="😀😃😄 日本語 ", temperature=1.2, seed=3, max_tokens=24, ignore_eos=True)
    whole = server.post("/v1/completions", prompt="😀😃😄 日本語 ", temperature=1.2, seed=3, max_tokens=24, ignore_eos=True)[1]
    assert "".join(event["choices"][0]["text"] for event in events) == whole["choices"][0]["text"]


def test_a_client_that_leaves_frees_the_engine(server):
    before = server.metric('vllm:request_success_total{model_name="smollm2",finished_reason="abort"}')
    for stream in (True, False):
        connection = server.connect()
        connection.request("POST", "/v1/chat/completions", json.dumps({"messages": QUESTION, "max_tokens": 900, "ignore_eos": True, "stream": stream}),
                           {"Content-Type": "application/json"})
        if stream:
            connection.getresponse().read(10)
        else:
            wait_until(lambda: server.metric("vllm:num_requests_running") >= 1)
        connection.sock.shutdown(socket.SHUT_RDWR)
        connection.close()
        wait_until(lambda: server.metric("vllm:num_requests_running") == 0)
    wait_until(lambda: server.metric('vllm:request_success_total{model_name="smollm2",finished_reason="abort"}') == before + 2)


@pytest.mark.parametrize("path, body, status, param", [
    ("/v1/chat/completions", "{", 400, None),
    ("/v1/chat/completions", b"\xff\xfe", 400, None),
    ("/v1/chat/completions", {"messages": "hi"}, 400, "messages"),
    ("/v1/chat/completions", {"messages": QUESTION, "temperature": 9}, 400, "temperature"),
    ("/v1/chat/completions", {"messages": QUESTION, "model": "gpt-4"}, 404, "model"),
    ("/v1/chat/completions", {"messages": QUESTION, "max_tokens": 5000}, 400, "max_tokens"),
    ("/v1/completions", {"prompt": "word " * 2000}, 400, "prompt"),
    ("/v1/completions", {"prompt": ""}, 400, "prompt"),
    ("/v1/completions", {"prompt": [999999]}, 400, "prompt"),
    ("/v1/load_lora_adapter", {"lora_name": "x", "lora_path": "/nowhere"}, 404, "lora_path"),
    ("/v1/unload_lora_adapter", {"lora_name": "x"}, 404, "lora_name"),
    ("/detokenize", {"tokens": [99999999]}, 400, "tokens"),
    ("/nothing", {}, 404, None),
])
def test_bad_requests_are_told_what_is_wrong(server, path, body, status, param):
    response, answer = server.request("POST", path, body)
    assert response.status == status, answer
    assert answer["error"]["message"] and answer["error"]["type"] == "invalid_request_error"
    assert answer["error"]["param"] == param
    assert server.request("GET", "/health")[0].status == 200


def test_wrong_methods_and_types_are_refused(server):
    response, _ = server.request("GET", "/v1/completions")
    assert response.status == 405 and response.getheader("Allow") == "POST"
    assert server.request("POST", "/tokenize", '{"prompt":"x"}', {"Content-Type": "text/plain"})[0].status == 415


def test_models_version_and_metrics(server):
    models = server.request("GET", "/v1/models")[1]
    assert models["data"][0]["id"] == "smollm2" and models["data"][0]["max_model_len"] == 1024
    assert server.request("GET", "/v1/models/smollm2")[1]["id"] == "smollm2"
    assert server.request("GET", "/v1/models/none")[0].status == 404
    assert re.fullmatch(r"\d+\.\d+\.\d+", server.request("GET", "/version")[1]["version"])
    generated = server.metric("vllm:generation_tokens_total")
    chat(server, max_tokens=3, ignore_eos=True)
    wait_until(lambda: server.metric("vllm:generation_tokens_total") == generated + 3)
    for time in ("queue", "inference", "prefill", "decode"):
        assert server.metric(f"vllm:request_{time}_time_seconds_count") >= 1, time


def test_adapters_come_and_go_at_run_time(server, adapters):
    base = chat(server)["choices"][0]["message"]["content"]
    for name in ("neutral", "strong"):
        response, text = server.post("/v1/load_lora_adapter", lora_name=name, lora_path=str(adapters / name))
        assert response.status == 200, text
    assert [model["id"] for model in server.request("GET", "/v1/models")[1]["data"]] == ["smollm2", "neutral", "strong"]
    assert chat(server, model="neutral")["choices"][0]["message"]["content"] == base
    strong = chat(server, model="strong")
    assert strong["choices"][0]["message"]["content"] != base and strong["model"] == "strong"
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        together = pool.map(lambda model: chat(server, model=model)["choices"][0]["message"]["content"], ["smollm2", "strong", "neutral"])
        assert list(together) == [base, strong["choices"][0]["message"]["content"], base]
    assert server.post("/v1/load_lora_adapter", lora_name="strong", lora_path="x")[0].status == 400
    for name in ("neutral", "strong"):
        assert server.post("/v1/unload_lora_adapter", lora_name=name)[0].status == 200
    assert server.post("/v1/chat/completions", messages=QUESTION, model="strong")[0].status == 404


def test_a_foreign_or_broken_adapter_is_refused(server, adapters, tmp_path):
    shutil.copytree(adapters / "neutral", tmp_path / "foreign")
    (tmp_path / "foreign" / "slipway.json").write_text('{"tokenizer_fingerprint": "0000"}')
    response, body = server.post("/v1/load_lora_adapter", lora_name="foreign", lora_path=str(tmp_path / "foreign"))
    assert response.status == 400 and "another tokenizer" in body["error"]["message"]
    shutil.copytree(adapters / "neutral", tmp_path / "broken")
    weights = tmp_path / "broken" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    response, body = server.post("/v1/load_lora_adapter", lora_name="broken", lora_path=str(tmp_path / "broken"))
    assert response.status == 400 and body["error"]["param"] == "lora_path"


def test_a_key_is_asked_for_and_a_full_queue_says_so(tmp_path, adapters):
    (tmp_path / "key").write_text("secret\n")
    server = Server(tmp_path / "log", "--api-key-file", tmp_path / "key", "--max-num-seqs", "1", "--queue", "1",
                    "--adapter", f"tuned={adapters / 'neutral'}")
    key = {"Authorization": "Bearer secret"}
    assert server.request("GET", "/v1/models")[0].status == 401
    assert server.request("GET", "/v1/models", headers={"Authorization": "Bearer secre"})[0].status == 401
    response, models = server.request("GET", "/v1/models", headers=key)
    assert response.status == 200 and models["data"][1]["parent"] == "smollm2"
    assert server.request("GET", "/health")[0].status == 200

    slow = json.dumps({"model": "tuned", "messages": QUESTION, "max_tokens": 30, "ignore_eos": True, "temperature": 0})
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        running = [pool.submit(server.request, "POST", "/v1/chat/completions", slow, key) for _ in range(2)]
        wait_until(lambda: server.metric("vllm:num_requests_running") + server.metric("vllm:num_requests_waiting") == 2)
        response, body = server.request("POST", "/v1/chat/completions", slow, key)
        assert response.status == 429 and response.getheader("Retry-After") and body["error"]["type"] == "rate_limit_error"
        # SIGTERM lets both end, and then the server leaves.
        assert server.stop() == 0
        for answer in running:
            response, body = answer.result()
            assert response.status == 200 and body["usage"]["completion_tokens"] == 30
    line = next(line for line in server.access_lines if "path=/v1/chat/completions status=200" in line)
    assert re.search(r" id=\S+ .* model=tuned prompt_tokens=\d+ completion_tokens=30 finish=length ttft_ms=[\d.]+ ms=[\d.]+ ", line)
    assert any("status=429" in line for line in server.access_lines)
    said = (tmp_path / "log").read_text() + "".join(server.access_lines)
    assert "France" not in said and "secret" not in said


def test_a_spec_is_served_by_the_contract(tmp_path):
    spec = {"version": 1, "kind": "serve", "model": {"path": str(MODEL), "served_model_name": "s", "dtype": "auto"},
            "listen": "127.0.0.1:0", "limits": {"max_model_len": 256, "max_num_seqs": 2, "queue": 2}}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    work = tmp_path / "work"
    command = [BIN / "slipway-serve", "--spec", tmp_path / "spec.json", "--workdir", work]
    for first_seq in (1, 4):  # a server that was stopped can be started again on its workdir
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        events = lambda: [json.loads(line) for line in (work / "events.jsonl").read_text().splitlines()] if (work / "events.jsonl").exists() else []
        wait_until(lambda: len(events()) >= first_seq + 1 or process.poll() is not None)
        started, ready = events()[first_seq - 1:first_seq + 1]
        assert started["type"] == "started" and started["seq"] == first_seq and started["engine"] == "slipway-serve"
        assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*", ready["url"])
        process.terminate()
        process.communicate(timeout=30)
        assert process.returncode == 0
        assert events()[-1]["type"] == "finished" and events()[-1]["status"] == "stopped"


@pytest.mark.parametrize("change, text", [
    ({"dtype": "f64"}, "dtype"),
    ({"path": "/nowhere.gguf"}, "nowhere"),
    ({"path": str(MODEL), "fingerprint": "0000"}, "fingerprint"),
])
def test_what_cannot_be_served_is_an_error_event(tmp_path, change, text):
    spec = {"version": 1, "kind": "serve", "model": {"path": str(MODEL), **change}, "listen": "127.0.0.1:0"}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    done = subprocess.run([BIN / "slipway-serve", "--spec", tmp_path / "spec.json", "--workdir", tmp_path / "work"], capture_output=True)
    assert done.returncode == (2 if "dtype" in change else 1)
    events = [json.loads(line) for line in (tmp_path / "work" / "events.jsonl").read_text().splitlines()]
    assert events[1]["type"] == "error" and text in events[1]["message"]
