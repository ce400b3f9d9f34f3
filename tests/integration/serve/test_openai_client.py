# The official openai client against slipway-serve with SmolLM2: what applications do, as they do it.
import json
import pathlib
import re
import shutil
import sys
import typing

import openai
import pydantic
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from serve_process import BIN, Server  # noqa: E402

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("serve") / "log", environment={"SLIPWAY_API_KEY": "sk-test"})
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-test", max_retries=0)


def test_chat(client):
    answer = client.chat.completions.create(model="smollm2", messages=QUESTION, temperature=0, max_completion_tokens=30,
                                            user="u-1", metadata={"purpose": "test"})
    assert "Paris" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_stream_with_usage(client):
    whole = client.chat.completions.create(model="smollm2", messages=QUESTION, temperature=0)
    stream = client.chat.completions.create(model="smollm2", messages=QUESTION, temperature=0, stream=True,
                                            stream_options={"include_usage": True})
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage


def test_several_choices_and_logprobs(client):
    answer = client.chat.completions.create(model="smollm2", messages=QUESTION, n=3, seed=5, max_tokens=6, logprobs=True,
                                            top_logprobs=2, stop=["\n"])
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    token = answer.choices[0].logprobs.content[0]
    assert token.logprob <= 0 and len(token.top_logprobs) == 2


def test_logit_bias_forbids_a_token(client, server):
    free = client.completions.create(model="smollm2", prompt="The sky is", temperature=0, max_tokens=1, logprobs=1)
    tokens = server.request("POST", "/tokenize", {"prompt": free.choices[0].text, "add_special_tokens": False},
                            {"Authorization": "Bearer sk-test"})[1]["tokens"]
    other = client.completions.create(model="smollm2", prompt="The sky is", temperature=0, max_tokens=1,
                                      logit_bias={str(tokens[0]): -100})
    assert other.choices[0].text != free.choices[0].text


def test_text_completion_echoes_with_logprobs(client):
    answer = client.completions.create(model="smollm2", prompt="The sky is blue", echo=True, logprobs=2, max_tokens=2,
                                       temperature=0)
    choice = answer.choices[0]
    assert choice.text.startswith("The sky is blue")
    assert "".join(choice.logprobs.tokens) == choice.text
    assert choice.logprobs.token_logprobs[0] is None and all(value < 0 for value in choice.logprobs.token_logprobs[1:])
    assert choice.logprobs.text_offset[1] == len(choice.logprobs.tokens[0])
    assert len(choice.logprobs.tokens) == answer.usage.total_tokens


def test_a_text_can_be_scored_without_writing_on(client):
    answer = client.completions.create(model="smollm2", prompt="The sky is blue", echo=True, logprobs=0, max_tokens=0)
    choice = answer.choices[0]
    assert choice.text == "The sky is blue" and answer.usage.completion_tokens == 0
    assert len(choice.logprobs.token_logprobs) == answer.usage.prompt_tokens


def test_the_best_of_several_is_given(client):
    fields = dict(model="smollm2", prompt="The sky is", max_tokens=8, temperature=1.5, seed=4, logprobs=0)
    mean = lambda choice: sum(choice.logprobs.token_logprobs) / len(choice.logprobs.token_logprobs)
    all_of_them = client.completions.create(**fields, n=4).choices
    best = client.completions.create(**fields, best_of=4)
    assert len(best.choices) == 1 and best.choices[0].text == max(all_of_them, key=mean).text
    assert best.usage.completion_tokens > len(best.choices[0].logprobs.tokens)


def test_usage_says_what_was_cached_and_what_a_stream_used_so_far(client):
    story = [{"role": "user", "content": "Once upon a time there was a cat that sat on a mat. " * 10}]
    fields = dict(model="smollm2", messages=story, temperature=0, max_tokens=4)
    client.chat.completions.create(**fields)
    usage = client.chat.completions.create(**fields).usage
    assert usage.prompt_tokens / 2 < usage.prompt_tokens_details.cached_tokens < usage.prompt_tokens
    chunks = list(client.chat.completions.create(**fields, stream=True, stream_options={"include_usage": True, "continuous_usage_stats": True}))
    counts = [chunk.usage.completion_tokens for chunk in chunks]
    assert counts == sorted(counts) and counts[-1] == usage.completion_tokens and chunks[-1].choices == []


def test_embeddings(client):
    def vectors(**more):
        answer = client.embeddings.create(model="smollm2", input=["The cat sat on the mat.", "A cat is on the mat.",
                                                                  "Interest rates rose."], **more)
        return [item.embedding for item in answer.data], answer
    plain, answer = vectors(encoding_format="float")
    packed, _ = vectors()  # the client asks for base64 by itself
    assert [len(vector) for vector in plain] == [576] * 3 and answer.usage.prompt_tokens > 0
    for one, other in zip(plain, packed):
        assert abs(sum(value * value for value in one) - 1) < 1e-4
        assert max(abs(a - b) for a, b in zip(one, other)) < 1e-6
    likeness = lambda a, b: sum(x * y for x, y in zip(a, b))
    assert likeness(plain[0], plain[1]) > likeness(plain[0], plain[2])


def test_models(client):
    assert [model.id for model in client.models.list()] == ["smollm2"]
    assert client.models.retrieve("smollm2").object == "model"


def test_errors_are_the_clients_own_classes(client, server):
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-4", messages=QUESTION)
    assert missing.value.code == "model_not_found" and missing.value.param == "model"
    assert missing.value.request_id
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model="smollm2", messages=QUESTION, temperature=3)
    assert wrong.value.param == "temperature"
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-wrong", max_retries=0).models.list()
    with pytest.raises(openai.BadRequestError) as unsupported:
        client.completions.create(model="smollm2", prompt="a", suffix="b")
    assert unsupported.value.code == "unsupported_parameter"


def test_the_request_id_comes_back(client):
    answer = client.chat.completions.with_raw_response.create(model="smollm2", messages=QUESTION, max_tokens=1,
                                                              extra_headers={"X-Request-Id": "from-the-client"})
    assert answer.headers["x-request-id"] == "from-the-client"


class Person(pydantic.BaseModel):
    name: str
    age: int
    colour: typing.Literal["red", "green"]


PERSON = [{"role": "user", "content": "Describe Ann, who is 31 years old, as JSON."}]


def test_parse_with_a_schema(client):
    answer = client.chat.completions.parse(model="smollm2", messages=PERSON, response_format=Person, temperature=0, max_tokens=120)
    person = answer.choices[0].message.parsed
    assert isinstance(person, Person) and answer.choices[0].finish_reason == "stop"
    with client.chat.completions.stream(model="smollm2", messages=PERSON, response_format=Person, temperature=0, max_tokens=120) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.parsed == person


def test_json_mode(client):
    answer = client.chat.completions.create(model="smollm2", messages=PERSON, response_format={"type": "json_object"}, seed=1,
                                            max_tokens=60, n=2)
    for choice in answer.choices:
        if choice.finish_reason == "stop":
            assert isinstance(json.loads(choice.message.content), dict)
        assert choice.message.content.lstrip().startswith("{")


@pytest.mark.parametrize("guide, pattern", [
    ({"guided_regex": r"[A-Z]{3}-\d{4}"}, r"[A-Z]{3}-\d{4}"),
    ({"guided_choice": ["yes, of course", "no"]}, "yes, of course|no"),
    ({"guided_grammar": 'root ::= "<" [a-z]+ ">"'}, "<[a-z]+>"),
    ({"structured_outputs": {"json": {"type": "integer", "minimum": 1, "maximum": 9}}}, "[1-9]"),
])
def test_other_grammars(client, guide, pattern):
    for temperature in (0, 1.5):
        answer = client.chat.completions.create(model="smollm2", messages=QUESTION, temperature=temperature, seed=3, max_tokens=40,
                                                extra_body=guide)
        if answer.choices[0].finish_reason == "stop":
            assert re.fullmatch(pattern, answer.choices[0].message.content)
        else:
            assert "+" in pattern and len(answer.choices[0].message.content) > 20


def test_a_wrong_schema_is_the_requests_own_fault(client):
    with pytest.raises(openai.BadRequestError) as wrong:
        client.chat.completions.create(model="smollm2", messages=QUESTION, extra_body={"guided_json": {"type": "nothing"}})
    assert wrong.value.param == "guided_json"


TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "The weather of a city.", "parameters": {
             "type": "object", "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
             "required": ["city", "unit"]}}},
         {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}]
WEATHER = [{"role": "user", "content": "What is the weather like in Paris, in celsius?"}]


def test_a_required_tool_is_called(client):
    fields = dict(model="smollm2", messages=WEATHER, tools=TOOLS, tool_choice="required", temperature=0, max_tokens=120,
                  parallel_tool_calls=False)
    answer = client.chat.completions.create(**fields)
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    (call,) = choice.message.tool_calls
    assert call.id.startswith("call_") and call.function.name in ("get_weather", "get_time")
    arguments = json.loads(call.function.arguments)
    pieces = [chunk.choices[0] for chunk in client.chat.completions.create(**fields, stream=True)]
    deltas = [delta for piece in pieces for delta in piece.delta.tool_calls or []]
    assert deltas[0].function.name == call.function.name and deltas[0].id
    assert json.loads("".join(delta.function.arguments for delta in deltas)) == arguments
    assert pieces[-1].finish_reason == "tool_calls"


def test_a_named_tool_is_called_and_its_result_is_read(client):
    answer = client.chat.completions.create(model="smollm2", messages=WEATHER, tools=TOOLS, temperature=0, max_tokens=120,
                                            tool_choice={"type": "function", "function": {"name": "get_weather"}})
    message = answer.choices[0].message
    (call,) = message.tool_calls
    arguments = json.loads(call.function.arguments)
    assert call.function.name == "get_weather" and arguments["unit"] in ("celsius", "fahrenheit")
    again = client.chat.completions.create(model="smollm2", tools=TOOLS, max_tokens=8, temperature=0, messages=[
        *WEATHER, message, {"role": "tool", "tool_call_id": call.id, "content": "18 degrees and sunny"}])
    assert again.usage.prompt_tokens > answer.usage.prompt_tokens


def test_tools_may_be_left_alone(client):
    answer = client.chat.completions.create(model="smollm2", messages=QUESTION, tools=TOOLS, tool_choice="none", temperature=0)
    assert "Paris" in answer.choices[0].message.content and not answer.choices[0].message.tool_calls


def test_without_the_grammar_library_everything_else_works(tmp_path):
    alone = shutil.copy(BIN / "slipway-serve", tmp_path / "slipway-serve")
    server = Server(tmp_path / "log", program=alone)
    lonely = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    assert "Paris" in lonely.chat.completions.create(model="smollm2", messages=QUESTION, temperature=0).choices[0].message.content
    with pytest.raises(openai.BadRequestError) as missing:
        lonely.chat.completions.create(model="smollm2", messages=QUESTION, response_format={"type": "json_object"})
    assert missing.value.code == "unsupported_parameter" and "libslipway_grammar.so" in missing.value.message
    assert server.stop() == 0
