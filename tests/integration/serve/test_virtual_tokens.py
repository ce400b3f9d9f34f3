# Prompt tuning's adapters in slipway-serve. One whose virtual tokens are the embeddings of words must answer as the base model
# does with these words before the prompt, and no answer may show or count them.
import concurrent.futures
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from serve_process import Server  # noqa: E402
from tiny_model import write_adapters, write_model, write_prompts  # noqa: E402

WORDS, TEXT = "twenty bytes, a page", "and then"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("virtual")
    write_model(folder / "model", initializer_range=0.2)  # else all prompts get much the same answer
    write_adapters(folder / "lora", 1)
    write_prompts(folder, folder / "model", WORDS)
    return folder


@pytest.fixture(scope="module")
def server(files, tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("serve") / "log", "--adapter", f"words={files / 'words'}", "--adapter", f"two={files / 'tasks'}",
                     "--task-id", "2", "--adapter", f"lora={files / 'lora' / 'a0'}", model=files / "model")
    yield running
    assert running.stop() == 0


def complete(server, prompt, **fields):
    response, body = server.post("/v1/completions", **{"prompt": prompt, "temperature": 0, "max_tokens": 12, "ignore_eos": True, **fields})
    assert response.status == 200, body
    return body


@pytest.mark.parametrize("name", ["words", "two"])
def test_words_as_virtual_tokens_answer_as_the_words(server, name):
    wanted, body = complete(server, WORDS + TEXT), complete(server, TEXT, model=name)
    assert body["choices"][0]["text"] == wanted["choices"][0]["text"] != complete(server, TEXT)["choices"][0]["text"]
    assert body["model"] == name
    assert wanted["usage"]["prompt_tokens"] == len(WORDS + TEXT)
    assert body["usage"]["prompt_tokens"] == len(TEXT) and body["usage"]["total_tokens"] == len(TEXT) + 12
    chat = server.post("/v1/chat/completions", model=name, messages=[{"role": "user", "content": TEXT}], max_tokens=3, ignore_eos=True)[1]
    rendered = server.post("/tokenize", messages=[{"role": "user", "content": TEXT}])[1]
    assert chat["usage"] == {**chat["usage"], "prompt_tokens": rendered["count"], "completion_tokens": 3}
    vectors = [server.post("/v1/embeddings", model=model, input=text)[1]["data"][0]["embedding"] for model, text in [("", WORDS + TEXT), (name, TEXT)]]
    assert vectors[0] == vectors[1]


def test_an_echo_shows_the_prompt_alone(server):
    wanted = complete(server, WORDS + TEXT, echo=True, logprobs=1)["choices"][0]
    choice = complete(server, TEXT, model="words", echo=True, logprobs=1)["choices"][0]
    assert choice["text"] == wanted["text"].removeprefix(WORDS)
    assert choice["logprobs"]["tokens"] == wanted["logprobs"]["tokens"][len(WORDS):]
    assert choice["logprobs"]["token_logprobs"] == [None, *wanted["logprobs"]["token_logprobs"][len(WORDS) + 1:]]


def test_they_take_part_of_the_models_length(server):
    lengths = {model["id"]: model["max_model_len"] for model in server.request("GET", "/v1/models")[1]["data"]}
    assert lengths == {"smollm2": 1024, "lora": 1024, "two": 1004, "words": 1004}
    assert server.post("/tokenize", model="words", prompt="x")[1]["max_model_len"] == 1004
    assert complete(server, "x" * 1003, model="words", max_tokens=1)["usage"]["prompt_tokens"] == 1003
    for prompt, tokens in [("x" * 1004, None), ("x" * 1000, 5)]:
        response, body = server.post("/v1/completions", model="words", prompt=prompt, max_tokens=tokens)
        assert response.status == 400 and body["error"]["code"] == "context_length_exceeded"
        assert "holds 1024 tokens, of which the adapter's virtual tokens take 20" in body["error"]["message"]


def test_requests_at_once_answer_as_each_alone_and_share_pages(server):
    prompts = [(name, TEXT + str(i)) for i, name in enumerate(["words", "lora", "", "two", "words", "lora", "two", "words"] * 3)]
    ask = lambda pair: complete(server, pair[1], model=pair[0], temperature=1, seed=5, repetition_penalty=1.2)["choices"][0]["text"]
    alone = [ask(pair) for pair in prompts]
    hits = server.metric("vllm:prefix_cache_hits_total")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, prompts)) == alone
    assert server.metric("vllm:prefix_cache_hits_total") >= hits + 16 * 15  # a page of virtual tokens each


def test_tasks_are_chosen_while_loading(server, files):
    for name, fields in [("first", {}), ("third", {"task_id": 2})]:
        response, text = server.post("/v1/load_lora_adapter", lora_name=name, lora_path=str(files / "tasks"), **fields)
        assert response.status == 200, text
    first, third, words = (complete(server, TEXT, model=name)["choices"][0]["text"] for name in ("first", "third", "words"))
    assert first != words and third == words
    for name in ("first", "third"):
        assert server.post("/v1/unload_lora_adapter", lora_name=name)[0].status == 200
    for path, task, said in [("tasks", 3, "the tasks 0 to 2"), ("words", 1, "no tasks"), ("tasks", "x", "task_id")]:
        response, body = server.post("/v1/load_lora_adapter", lora_name="new", lora_path=str(files / path), task_id=task)
        assert response.status == 400 and said in body["error"]["message"] and body["error"]["param"] == "task_id"
    response, body = server.post("/v1/load_lora_adapter", lora_name="new", lora_path=str(files / "narrow"))
    assert response.status == 400 and body["error"]["param"] == "lora_path"
    assert "prompt_embeddings is 20 × 63, the base model's hidden size is 64" in body["error"]["message"]
