# A tiny random Llama with a byte-level tokenizer and a chat template, and adapters for it: for tests that want many
# requests rather than good answers.
import json
import pathlib
import random

TEMPLATE = ("{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
HIDDEN, INTERMEDIATE, LAYERS = 64, 128, 2


def write_model(folder: pathlib.Path, seed=1, **settings):
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={character: i for i, character in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(hidden_size=HIDDEN, intermediate_size=INTERMEDIATE, num_hidden_layers=LAYERS,
                                         num_attention_heads=4, num_key_value_heads=2, head_dim=16,
                                         vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=1024,
                                         tie_word_embeddings=True, eos_token_id=257, **settings))
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "chat_template": TEMPLATE}))


def write_adapters(folder: pathlib.Path, count: int):
    """PEFT folders a0, a1, …: LoRA, rsLoRA and DoRA in turns, of rank 2 to 5."""
    import numpy
    from safetensors.numpy import save_file
    for i in range(count):
        numbers = numpy.random.default_rng(i)
        rank, dora = 2 + i % 4, i % 3 == 2
        tensors = {}
        for layer in range(LAYERS):
            for module, size in (("self_attn.q_proj", HIDDEN), ("mlp.up_proj", INTERMEDIATE)):
                name = f"base_model.model.model.layers.{layer}.{module}"
                tensors[f"{name}.lora_A.weight"] = numbers.normal(0, 0.3, (rank, HIDDEN)).astype("float32")
                tensors[f"{name}.lora_B.weight"] = numbers.normal(0, 0.3, (size, rank)).astype("float32")
                if dora:
                    tensors[f"{name}.lora_magnitude_vector"] = numbers.uniform(0.5, 1.5, size).astype("float32")
        target = folder / f"a{i}"
        target.mkdir(parents=True)
        save_file(tensors, target / "adapter_model.safetensors")
        (target / "adapter_config.json").write_text(json.dumps({
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank,
            "target_modules": ["q_proj", "up_proj"], "use_rslora": i % 3 == 1, "use_dora": dora, "bias": "none"}))


def write_prompts(folder: pathlib.Path, model: pathlib.Path, words: str):
    """PEFT folders of prompt tuning: `words`, whose virtual tokens are the embeddings of these bytes; `tasks`, of which task 2 is the
    same; `narrow`, which fits no such model."""
    import numpy
    from safetensors.numpy import load_file, save_file
    from tokenizers import Tokenizer
    ids = Tokenizer.from_file(str(model / "tokenizer.json")).encode(words).ids
    rows = load_file(model / "model.safetensors")["model.embed_tokens.weight"][ids]
    numbers = numpy.random.default_rng(1)
    columns, task_rows = numbers.normal(0, 1, (3, len(ids), 2)).astype("float32"), numbers.normal(0, 1, (3, 2, HIDDEN)).astype("float32")
    columns[2], task_rows[2, 0] = (1, 0), 1
    for name, tensors, more in [
            ("words", {"prompt_embeddings": rows}, {}),
            ("narrow", {"prompt_embeddings": rows[:, 1:].copy()}, {"token_dim": HIDDEN - 1}),
            ("tasks", {"prompt_embeddings": rows, "prefix_task_cols": columns, "prefix_task_rows": task_rows},
             {"peft_type": "MULTITASK_PROMPT_TUNING", "num_tasks": 3, "num_ranks": 2})]:
        (folder / name).mkdir()
        save_file(tensors, folder / name / "adapter_model.safetensors")
        (folder / name / "adapter_config.json").write_text(json.dumps({
            "peft_type": "PROMPT_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": len(ids), "token_dim": HIDDEN, **more}))


def random_text(chance: random.Random, most: int):
    return "".join(chance.choice("abcdefgh \n") for _ in range(chance.randrange(1, most)))
