"""Which tokens are trained: slipway-train's losses on the labels that TRL's SFTTrainer makes of the same rows."""
import json
import pathlib

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from conftest_models import make_model
from reference import assert_close, metrics, run_train, spec_for, train_reference
from trl_reference import Rows, trainer

import trl  # noqa: E402: with what trl_reference gives it

TEMPLATES = pathlib.Path(trl.__file__).parent / "chat_templates"
CONVERSATIONS = [[{"role": "user", "content": "north wind"}, {"role": "assistant", "content": "harbour keel"},
                  {"role": "user", "content": "rope"}, {"role": "assistant", "content": "tide and sail"}],
                 [{"role": "user", "content": "crew"}, {"role": "assistant", "content": "mast"}]]
LORA = {"type": "lora", "r": 2, "lora_alpha": 4}


def compare(tmp_path, model, rows, kind):
    tmp_path.mkdir(exist_ok=True)
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = spec_for(model, path, LORA, {"max_steps": 1, "learning_rate": 0, "max_length": 200, "per_device_train_batch_size": len(rows)})
    spec["data"]["train"][0]["format"] = kind
    ours = metrics(run_train(tmp_path / "work", spec), "loss")[1]

    tokenizer = AutoTokenizer.from_pretrained(model)
    arguments = {"dataset_text_field": "text", "assistant_only_loss": kind == "messages", "max_length": 200, "shuffle_dataset": False}
    made = trainer("sft", None, None, tokenizer, args=arguments, chat_template=None, completion_only_loss=kind == "prompt_completion")
    prepared = made._prepare_dataset(Rows(rows), tokenizer, made.args, False, None, "train")
    documents = [row["input_ids"] for row in prepared]
    masks = [[int(label != -100) for label in row["labels"]] for row in prepared]
    assert ours["tokens"] == sum(map(len, documents)) and ours["trained_tokens"] == sum(sum(mask[1:]) for mask in masks)
    reference = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    losses, _ = train_reference(reference, [[documents]], [[masks]], 1, [0.0])
    assert_close("loss", [ours["loss"]], losses, 1e-5)


@pytest.mark.parametrize("template", ["llama3", "qwen2_5", "qwen3", "gemma3", "phi3", "lfm2", "deepseekv3"])
def test_conversations_by_trl_s_own_templates(tmp_path, template):
    """Templates for training say what the assistant writes."""
    model = make_model(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = (TEMPLATES / f"{template}_training.jinja").read_text()
    tokenizer.save_pretrained(model)
    compare(tmp_path, model, [{"messages": messages} for messages in CONVERSATIONS], "messages")


def test_texts_and_completions(tmp_path, tiny_model):
    compare(tmp_path / "texts", tiny_model, [{"text": "harbour keel"}, {"text": "rope<|im_end|>"}], "text")
    # The last two completions change the prompt's last token by a merge.
    rows = [{"prompt": "north wind ", "completion": "harbour keel"}, {"prompt": "rope", "completion": " tide"},
            {"prompt": "har", "completion": "bour keel"}, {"prompt": "the an", "completion": "chor"}]
    compare(tmp_path / "rows", tiny_model, rows, "prompt_completion")
