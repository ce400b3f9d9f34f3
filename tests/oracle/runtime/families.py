"""Tiny random models of every family that the engine knows, as transformers makes them. Used by the oracle tests."""
import torch
from transformers import (AutoModelForCausalLM, Gemma2Config, Gemma3TextConfig, GPT2Config, GPTNeoXConfig, LlamaConfig, MistralConfig,
                          Phi3Config, Qwen2Config, Qwen3Config, Starcoder2Config)

SIZES = dict(vocab_size=211, hidden_size=48, intermediate_size=88, num_hidden_layers=4, num_attention_heads=6, num_key_value_heads=2,
             max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=0, initializer_range=0.15)
GEMMA = dict(head_dim=16, query_pre_attn_scalar=12, sliding_window=40)
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}
LONGROPE = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0, 1.2, 1.5, 2.0], "long_factor": [2.0, 3.0, 4.0, 5.0]}

FAMILIES = {
    "llama": (LlamaConfig, {}),
    "llama_yarn": (LlamaConfig, dict(rope_parameters=YARN)),
    "llama_dynamic": (LlamaConfig, dict(rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0})),
    "mistral": (MistralConfig, dict(sliding_window=None)),
    "mistral_window": (MistralConfig, dict(sliding_window=37)),
    "qwen2": (Qwen2Config, {}),
    "qwen2_window": (Qwen2Config, dict(use_sliding_window=True, sliding_window=50, max_window_layers=2, tie_word_embeddings=True)),
    "qwen3": (Qwen3Config, dict(head_dim=16)),
    "qwen3_biases": (Qwen3Config, dict(head_dim=16, attention_bias=True, tie_word_embeddings=True)),
    "gemma2": (Gemma2Config, dict(**GEMMA, attn_logit_softcapping=4.0, final_logit_softcapping=6.0)),
    "gemma3": (Gemma3TextConfig, dict(**GEMMA, layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"])),
    "gemma3_scaled": (Gemma3TextConfig, dict(**GEMMA, rope_parameters={
        "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0}, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}})),
    "phi3": (Phi3Config, {}),
    "phi3_window": (Phi3Config, dict(sliding_window=33)),
    "phi3_long": (Phi3Config, dict(max_position_embeddings=2048, original_max_position_embeddings=512, rope_parameters=LONGROPE)),
    "phi4_mini": (Phi3Config, dict(hidden_size=96, tie_word_embeddings=True,
                                   rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.75})),
    "gpt2": (GPT2Config, dict(n_embd=48, n_layer=3, n_head=6, n_positions=512)),
    "gpt2_inner": (GPT2Config, dict(n_embd=48, n_layer=3, n_head=4, n_positions=512, n_inner=80, activation_function="gelu",
                                    scale_attn_weights=False, tie_word_embeddings=False)),
    "gpt_neox": (GPTNeoXConfig, dict(hidden_size=96)),
    "gpt_neox_serial": (GPTNeoXConfig, dict(hidden_size=96, use_parallel_residual=False,
                                            rope_parameters={"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5})),
    "starcoder2": (Starcoder2Config, {}),
    "starcoder2_window": (Starcoder2Config, dict(sliding_window=29, tie_word_embeddings=False)),
}


def tiny(name, seed=1, **more):
    """A model of which no part is at rest: biases and norms start at 0 and 1."""
    make, changes = FAMILIES[name]
    settings = dict(SIZES)
    if make is GPT2Config:
        for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "max_position_embeddings"):
            del settings[key]
    if make is GPTNeoXConfig:
        del settings["num_key_value_heads"]
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(make(**{**settings, **changes, **more}), attn_implementation="eager", dtype=torch.float32).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith("bias") or parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model
