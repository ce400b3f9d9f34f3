"""Writes a transformers model as GGUF, by the rules of llama.cpp's converters and with the gguf package's own names."""
import gguf
import numpy as np

ARCHITECTURES = {"llama": gguf.MODEL_ARCH.LLAMA, "mistral": gguf.MODEL_ARCH.LLAMA, "qwen2": gguf.MODEL_ARCH.QWEN2, "qwen3": gguf.MODEL_ARCH.QWEN3,
                 "gemma2": gguf.MODEL_ARCH.GEMMA2, "gemma3_text": gguf.MODEL_ARCH.GEMMA3, "phi3": gguf.MODEL_ARCH.PHI3, "gpt2": gguf.MODEL_ARCH.GPT2,
                 "gpt_neox": gguf.MODEL_ARCH.GPTNEOX, "starcoder2": gguf.MODEL_ARCH.STARCODER2}


def rotate_pairs(weight, heads):
    """Llama's converter makes rotated pairs neighbours."""
    rows = weight.shape[0]
    return weight.reshape(heads, 2, rows // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def head_by_head_apart(value, heads):
    """GPT-NeoX keeps query, key and value of each head together; GGUF has all queries first."""
    return value.reshape(heads, 3, value.shape[0] // heads // 3, *value.shape[1:]).swapaxes(0, 1).reshape(value.shape)


def write(model, path):
    config = model.config
    family, arch = config.model_type, ARCHITECTURES[config.model_type]
    heads, key_heads = config.num_attention_heads, getattr(config, "num_key_value_heads", config.num_attention_heads)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
    writer.add_block_count(config.num_hidden_layers), writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size), writer.add_head_count(heads)
    writer.add_feed_forward_length(getattr(config, "intermediate_size", None) or 4 * config.hidden_size)
    writer.add_eos_token_id(2)
    if family not in ("gpt2", "gpt_neox"):
        writer.add_head_count_kv(key_heads)
    if family in ("gpt2", "gpt_neox", "starcoder2"):
        writer.add_layer_norm_eps(getattr(config, "layer_norm_epsilon", getattr(config, "layer_norm_eps", getattr(config, "norm_epsilon", None))))
    else:
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = getattr(config, "rope_parameters", None) or {}
    rope = rope.get("full_attention", rope)
    if rope:
        writer.add_rope_freq_base(rope["rope_theta"])
        writer.add_rope_dimension_count(int(head_dim * rope.get("partial_rotary_factor", 1.0)))
    if rope.get("rope_type") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR), writer.add_rope_scaling_factor(rope["factor"])
    if rope.get("rope_type") == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN), writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if rope.get("rope_type") == "longrope":
        writer.add_rope_scaling_orig_ctx_len(config.original_max_position_embeddings)
        writer.add_rope_scaling_attn_factors(model.model.rotary_emb.attention_scaling)
        writer.add_tensor("rope_factors_long.weight", np.array(rope["long_factor"], np.float32))
        writer.add_tensor("rope_factors_short.weight", np.array(rope["short_factor"], np.float32))
    if family in ("qwen3", "gemma2", "gemma3_text"):
        writer.add_key_length(head_dim), writer.add_value_length(head_dim)
    if family in ("gemma2", "gemma3_text", "phi3"):
        writer.add_sliding_window(config.sliding_window or 0)
    if family == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping), writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if family == "gpt_neox":
        writer.add_parallel_residual(config.use_parallel_residual)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name.endswith((".attn.bias", ".masked_bias", "inv_freq")) or (name == "lm_head.weight" and config.tie_word_embeddings):
            continue
        value = tensor.float().numpy()
        if family in ("llama", "mistral") and ".q_proj." in name:
            value = rotate_pairs(value, heads)
        if family in ("llama", "mistral") and ".k_proj." in name:
            value = rotate_pairs(value, key_heads)
        if family.startswith("gemma") and name.endswith("norm.weight"):
            value = value + np.float32(1)
        if family == "gpt2" and name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight")):
            value = value.T
        if family == "gpt_neox" and "query_key_value" in name:
            value = head_by_head_apart(value, heads)
        stem, kind = name.rsplit(".", 1)
        writer.add_tensor(names.get_name(stem) + "." + kind, np.ascontiguousarray(value))
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file(), writer.close()
