"""Token ids and assistant masks of conversations, against apply_chat_template with {% generation %} markers."""
import json
import os

import pytest
from transformers import AutoTokenizer

from conversations import ASSISTANT, CALLS, CONVERSATIONS, RESULT, SYSTEM, USER, WEATHER
from paths import SMOLLM2, TEMPLATES, VOCABULARIES
from tool import Tool, ToolError

MARKED = ("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant "
          "named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{ '<|im_start|>' + message['role'] + '\n' }}"
          "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
          "{% else %}{{ message['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
PLAIN = [name for name in ("user", "system", "turns", "system_turns", "wrong_order", "assistant_first", "empty_content", "thinking_tags")]


@pytest.fixture()
def tool():
    instance = Tool()
    yield instance
    instance.close()


def with_template(tool, folder, vocabulary, template):
    """Loads a vocabulary with another chat template."""
    tool("load", path=vocabulary)
    tool("save", path=str(folder))
    (folder / "chat_template.jinja").write_text(template)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    tool("load", path=str(folder))


def replies(tool, got):
    """The runs of masked tokens, as text."""
    out, run = [], []
    for token, masked in zip(got["ids"] + [0], got["mask"] + [0]):
        if masked:
            run.append(token)
        elif run:
            out.append(tool("decode", ids=run))
            run = []
    return out


def test_marked_and_unmarked_template_give_the_mask_of_transformers(tool, tmp_path):
    with_template(tool, tmp_path, SMOLLM2, MARKED)
    auto = AutoTokenizer.from_pretrained(str(tmp_path))
    expected = {name: auto.apply_chat_template(CONVERSATIONS[name], return_assistant_tokens_mask=True, return_dict=True) for name in PLAIN}
    for name in PLAIN:
        got = tool("conversation", messages=CONVERSATIONS[name])
        assert (got["ids"], got["mask"]) == (expected[name]["input_ids"], expected[name]["assistant_masks"]), name
    assert sum(expected["system_turns"]["assistant_masks"]) > 10
    tool("load", path=SMOLLM2)  # its own template has no markers
    for name in PLAIN:
        got = tool("conversation", messages=CONVERSATIONS[name])
        assert (got["ids"], got["mask"]) == (expected[name]["input_ids"], expected[name]["assistant_masks"]), name


@pytest.mark.parametrize("vocabulary,template,end", [
    ("llama-bpe", "meta-llama-Llama-3.1-8B-Instruct", "<|eot_id|>"), ("qwen2", "Qwen-Qwen2.5-7B-Instruct", "<|im_end|>"),
    ("qwen2", "Qwen-Qwen3-0.6B", "<|im_end|>"), ("phi-3", "microsoft-Phi-3.5-mini-instruct", "<|end|>"),
    ("llama-spm", "mistralai-Mistral-Nemo-Instruct-2407", "</s>")])
def test_replies_of_other_families(tool, tmp_path, vocabulary, template, end):
    with open(os.path.join(TEMPLATES, template + ".jinja")) as file:
        source = file.read()
    with_template(tool, tmp_path, os.path.join(VOCABULARIES, f"ggml-vocab-{vocabulary}.gguf"), source)
    messages = [USER, ASSISTANT, {"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "Yes, ünter 4."}]
    got = tool("conversation", messages=messages)
    # The other tests compare rendering and encoding with the references.
    assert got["ids"] == tool("encode", text=tool("render_chat", messages=messages, add_generation_prompt=False))
    found = replies(tool, got)
    assert len(found) == 2
    for reply, message in zip(found, (messages[1], messages[3])):
        body = message["content"]
        # Qwen3 puts empty thoughts before the last reply, Phi the end of the text behind it.
        assert body + end in reply and len(reply) <= len(body) + len(end) + len("<think>\n\n</think>\n\n"), found


def test_tool_calls_are_the_assistants(tool, tmp_path):
    with open(os.path.join(TEMPLATES, "Qwen-Qwen2.5-7B-Instruct.jinja")) as file:
        with_template(tool, tmp_path, os.path.join(VOCABULARIES, "ggml-vocab-qwen2.gguf"), file.read())
    found = replies(tool, tool("conversation", messages=[SYSTEM, USER, CALLS, RESULT, ASSISTANT], tools=[WEATHER]))
    assert len(found) == 2 and "<tool_call>" in found[0] and found[0].endswith("<|im_end|>") and found[1] == ASSISTANT["content"] + "<|im_end|>"


def test_thoughts_that_a_template_drops_from_earlier_turns(tool, tmp_path):
    with open(os.path.join(TEMPLATES, "Qwen-Qwen3-0.6B.jinja")) as file:
        with_template(tool, tmp_path, os.path.join(VOCABULARIES, "ggml-vocab-qwen2.gguf"), file.read())
    messages = [USER, {"role": "assistant", "content": "<think>\nHm.\n</think>\n\n4"}, USER, {"role": "assistant", "content": "<think>\nOh.\n</think>\n\nFour"}]
    found = replies(tool, tool("conversation", messages=messages))
    assert found == ["4<|im_end|>", "<think>\nOh.\n</think>\n\nFour<|im_end|>"]


def test_text_that_the_vocabulary_normalizes(tool):
    tool("load", path=os.path.join(VOCABULARIES, "ggml-vocab-qwen2.gguf"))
    got = tool("conversation", messages=[{"role": "user", "content": "cafe\u0301"}, {"role": "assistant", "content": "re\u0301sume\u0301"}])
    assert replies(tool, got) == ["r\u00e9sum\u00e9<|im_end|>"]


def test_a_reply_that_cannot_be_located_is_named(tool, tmp_path):
    template = "{{ messages|length }}{% for m in messages %}{{ m['content']|upper }}{{ m['content'] }}{% endfor %}"
    with_template(tool, tmp_path, SMOLLM2, template)
    with pytest.raises(ToolError) as caught:
        tool("conversation", messages=[USER, ASSISTANT, USER])
    assert caught.value.code == "INVALID_DATA" and "message 1" in str(caught.value)
