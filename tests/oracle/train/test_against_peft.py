"""slipway-train against transformers + peft on the same data in the same order, in f32."""
import json
import math

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from conftest_models import make_model, write_texts
from reference import (MODULES, assert_close, assert_same_update, load_tensors, metrics, run_train, spec_for,
                       train_reference)

# What a method may say besides, in LoraConfig's words.
FURTHER = ["use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "layers_to_transform"]
LORA = {"type": "lora", "r": 4, "lora_alpha": 8, "target_modules": MODULES}


def tokenized(model, rows, max_length=64):
    tokenizer = AutoTokenizer.from_pretrained(model)
    return [(tokenizer(row)["input_ids"] + [tokenizer.eos_token_id])[:max_length] for row in rows]


def steps_of(documents, batch_size, accumulation=1):
    micro = [documents[i:i + batch_size] for i in range(0, len(documents), batch_size)]
    return [micro[i:i + accumulation] for i in range(0, len(micro), accumulation)]


def all_trained(steps):
    return [[[[1] * len(d) for d in micro] for micro in step] for step in steps]


def peft_model(model, adapter):
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), adapter,
                                     is_trainable=True)


def peft_state(model):
    """Parameters under the names that they have in adapter_model.safetensors."""
    def name(key):
        return key.replace("_vector.default.weight", "_vector").replace(".default.", ".")
    return {name(k): v.detach().clone() for k, v in model.named_parameters() if "lora_" in k}


def initial_adapter(tmp_path, model, method=None):
    """A PEFT adapter whose B is not zero, so that the first step has every gradient."""
    torch.manual_seed(3)
    method = method or LORA
    config = LoraConfig(r=method["r"], lora_alpha=method["lora_alpha"], target_modules=method["target_modules"],
                        **{key: method[key] for key in FURTHER if key in method})
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    adapted.save_pretrained(tmp_path / "init")
    return tmp_path / "init"


def cosine(base, total):
    return [base * 0.5 * (1 + math.cos(math.pi * s / total)) for s in range(total)]


def compare(tmp_path, model, path, rows, method, training, steps, rates, loss_tolerance=1e-5, **reference):
    init = initial_adapter(tmp_path, model, method)
    found = run_train(tmp_path / "work", spec_for(model, path, {**method, "init_adapter": str(init)}, training))
    theirs = peft_model(model, init)
    start = peft_state(theirs)
    losses, norms = train_reference(theirs, steps, all_trained(steps), len(steps), rates, **reference)
    ours = metrics(found, "loss")
    assert_close("loss", [ours[s + 1]["loss"] for s in range(len(steps))], losses, loss_tolerance)
    assert_close("grad_norm", [ours[s + 1]["grad_norm"] for s in range(len(steps))], norms, 1e-4)
    assert_close("learning_rate", [ours[s + 1]["learning_rate"] for s in range(len(steps))], rates, 1e-12)
    assert_same_update(load_tensors(tmp_path / "work/out/adapter/adapter_model.safetensors"), peft_state(theirs), start)
    return theirs, tmp_path / "work/out"


def assert_same_logits(ours, theirs, ids, tolerance=1e-4):
    with torch.no_grad():
        a, b = ours(ids).logits, theirs(ids).logits
    assert (a - b).abs().max() <= tolerance * max(1.0, b.abs().max().item())


@pytest.mark.parametrize("changes", [
    {},
    {"tie_word_embeddings": False, "num_key_value_heads": 4},
    {"attention_bias": True, "mlp_bias": True, "head_dim": 32},
    {"rope_parameters": {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 4.0, "low_freq_factor": 1.0,
                         "high_freq_factor": 4.0, "original_max_position_embeddings": 64}},
], ids=["tied", "untied", "biases", "llama3-rope"])
def test_twelve_steps_and_the_merged_model(tmp_path, texts, changes):
    path, rows = texts
    model = make_model(tmp_path / "model", **changes)
    steps = steps_of(tokenized(model, rows), 2)
    theirs, out = compare(tmp_path, model, path, rows, LORA, {}, steps, cosine(1e-3, 12))
    ids = torch.tensor([tokenized(model, rows)[0]])
    merged = AutoModelForCausalLM.from_pretrained(out / "merged", dtype=torch.float32)
    assert_same_logits(merged, theirs, ids)
    ours = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), out / "adapter")
    assert_same_logits(ours, theirs, ids)
    assert AutoTokenizer.from_pretrained(out / "merged")(rows[0]) == AutoTokenizer.from_pretrained(model)(rows[0])


def test_accumulation_is_weighted_by_tokens(tmp_path, tiny_model, texts):
    path, rows = texts
    steps = steps_of(tokenized(tiny_model, rows), 3, 4)
    compare(tmp_path, tiny_model, path, rows, LORA,
            {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 4, "lr_scheduler_type": "constant"}, steps,
            [1e-3] * len(steps))


def test_some_modules_rslora_decay_clipping_linear_warmup_and_checkpointing(tmp_path, tiny_model, texts):
    path, rows = texts
    steps = steps_of(tokenized(tiny_model, rows), 2)
    rates = [2e-3 * min(s / 3, (12 - s) / 9) for s in range(12)]
    compare(tmp_path, tiny_model, path, rows,
            {"type": "lora", "r": 3, "lora_alpha": 6, "use_rslora": True, "target_modules": ["q_proj", "v_proj", "down_proj"]},
            {"lr_scheduler_type": "linear", "warmup_steps": 3, "learning_rate": 2e-3, "weight_decay": 0.1,
             "max_grad_norm": 0.3, "adam_beta1": 0.8, "adam_beta2": 0.95, "adam_epsilon": 1e-6,
             "gradient_checkpointing": True}, steps, rates, weight_decay=0.1, max_grad_norm=0.3, betas=(0.8, 0.95), eps=1e-6)


def test_packed_loss_is_the_unpacked_loss(tmp_path, tiny_model):
    path = tmp_path / "train.jsonl"
    write_texts(path, 16, longest=12)
    results = []
    for packing, batch in ((False, 16), (True, 16)):
        spec = spec_for(tiny_model, path, LORA, {"packing": packing, "per_device_train_batch_size": batch, "max_length": 96,
                                                 "max_steps": 3, "eval_steps": 1, "lr_scheduler_type": "constant"},
                        validation=path)
        results.append(run_train(tmp_path / f"work{packing}", spec))
    for key in ("loss", "grad_norm", "eval_loss"):
        unpacked, packed = ([m[key] for m in metrics(r, key).values()] for r in results)
        assert_close(key, packed, unpacked, 1e-5)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_a_base_in_bf16_gives_a_merged_model_in_bf16(tmp_path, texts, precision):
    path, rows = texts
    model = make_model(tmp_path / "model")
    AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).save_pretrained(model)
    run_train(tmp_path / "work", spec_for(model, path, LORA, {"precision": precision}))
    out = tmp_path / "work/out"
    merged = AutoModelForCausalLM.from_pretrained(out / "merged")
    assert merged.dtype == torch.bfloat16
    assert_same_logits(merged.float(), peft_model(model, out / "adapter"), torch.tensor([tokenized(model, rows)[0]]), 0.03)


def test_conversations_train_the_assistants_replies(tmp_path, tiny_model):
    rows = [[{"role": "user", "content": "north wind"}, {"role": "assistant", "content": "harbour keel"},
             {"role": "user", "content": "rope"}, {"role": "assistant", "content": "tide and sail"}],
            [{"role": "system", "content": "deck"}, {"role": "user", "content": "crew"}, {"role": "assistant", "content": "mast"}]]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    spec = spec_for(tiny_model, path, LORA, {"max_steps": 1, "max_length": 128})
    spec["data"]["train"][0]["format"] = "messages"
    found = run_train(tmp_path / "work", spec)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    documents, masks = [], []
    for row in rows:
        ids, mask = [], []
        for message in row:
            pieces = [(f"<|im_start|>{message['role']}\n", 0), (message["content"] + "<|im_end|>", 1), ("\n", 0)]
            for text, reply in pieces:
                piece = tokenizer(text, add_special_tokens=False)["input_ids"]
                ids += piece
                mask += [reply if message["role"] == "assistant" else 0] * len(piece)
        assert ids == tokenizer.apply_chat_template(row, return_dict=True)["input_ids"]
        documents.append(ids)
        masks.append(mask)
    losses, _ = train_reference(AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32), [[documents]], [[masks]],
                                1, [0.0])
    values = metrics(found, "loss")[1]
    assert values["trained_tokens"] == sum(map(sum, masks)) and values["tokens"] == sum(map(len, documents))
    assert_close("loss", [values["loss"]], losses, 1e-5)


def test_full_fine_tuning(tmp_path, tiny_model, texts):
    path, rows = texts
    steps = steps_of(tokenized(tiny_model, rows), 2)
    found = run_train(tmp_path / "work", spec_for(tiny_model, path, {"type": "full"}, {"weight_decay": 0.05},
                                                  output={"merged": "out/merged"}))
    theirs = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    start = {k: v.detach().clone() for k, v in theirs.named_parameters()}
    losses, norms = train_reference(theirs, steps, all_trained(steps), 12, cosine(1e-3, 12), weight_decay=0.05,
                                    decayed=lambda name: "norm" not in name)
    ours = metrics(found, "loss")
    assert_close("loss", [ours[s + 1]["loss"] for s in range(12)], losses, 1e-5)
    assert_close("grad_norm", [ours[s + 1]["grad_norm"] for s in range(12)], norms, 1e-4)
    tensors = load_tensors(tmp_path / "work/out/merged/model.safetensors")
    assert_same_update(tensors, {k: v.detach() for k, v in theirs.named_parameters()}, start)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "work/out/merged", dtype=torch.float32)
    assert_same_logits(merged, theirs, torch.tensor([tokenized(tiny_model, rows)[0]]))


def test_a_fresh_adapter_is_initialised_as_peft_does(tmp_path, tiny_model, texts):
    run_train(tmp_path / "work", spec_for(tiny_model, texts[0], LORA, {"learning_rate": 0, "max_steps": 1}))
    tensors = load_tensors(tmp_path / "work/out/adapter/adapter_model.safetensors")
    assert len(tensors) == 3 * 7 * 2
    for name, tensor in tensors.items():
        if "lora_B" in name:
            assert not tensor.any()
        else:  # uniform in +-1/sqrt(in_features)
            bound = tensor.shape[1] ** -0.5
            assert tensor.abs().max() <= bound and abs(tensor.std().item() - bound / 3 ** 0.5) < 0.1 * bound


def test_prompt_and_completion_trains_the_completion_and_the_end(tmp_path, tiny_model):
    rows = [{"prompt": "north wind ", "completion": "harbour keel"}, {"prompt": "rope", "completion": " tide and sail"}]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = spec_for(tiny_model, path, LORA, {"max_steps": 1})
    spec["data"]["train"][0]["format"] = "prompt_completion"
    found = run_train(tmp_path / "work", spec)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    documents, masks = [], []
    for row in rows:
        ids = tokenizer(row["prompt"] + row["completion"])["input_ids"] + [tokenizer.eos_token_id]
        prompt = len(tokenizer(row["prompt"])["input_ids"])
        documents.append(ids)
        masks.append([0] * prompt + [1] * (len(ids) - prompt))
    reference = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    losses, _ = train_reference(reference, [[documents]], [[masks]], 1, [0.0])
    values = metrics(found, "loss")[1]
    assert values["trained_tokens"] == sum(map(sum, masks)) and values["tokens"] == sum(map(len, documents))
    assert_close("loss", [values["loss"]], losses, 1e-5)
