// A random Llama of some 550,000 parameters as a Hugging Face folder, with a tokenizer of single bytes and a chat template: a model
// of a moment for journeys, without Python.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const hidden = 128;
const intermediate = 320;
const layers = 3;
const heads = 4;
const keyValueHeads = 2;
const specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
const template =
  "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/** The character that stands for each byte in a byte-level vocabulary, as GPT-2's bytes_to_unicode gives them. */
function byteCharacters() {
  let next = 256;
  const isShown = (byte) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(isShown(byte) ? byte : next++));
}

/** Numbers of a normal distribution, the same for the same seed: mulberry32 and Box and Muller's method. */
function normals(seed) {
  let state = seed;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return (((mixed ^ (mixed >>> 14)) >>> 0) + 1) / 4294967297;
  };
  return () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
}

function shapes(vocabulary) {
  const keyValue = (hidden / heads) * keyValueHeads;
  const all = { "model.embed_tokens.weight": [vocabulary, hidden], "model.norm.weight": [hidden] };
  for (let layer = 0; layer < layers; layer += 1) {
    const parts = {
      ...{ input_layernorm: [hidden], post_attention_layernorm: [hidden] },
      ...{ "self_attn.q_proj": [hidden, hidden], "self_attn.k_proj": [keyValue, hidden], "self_attn.v_proj": [keyValue, hidden], "self_attn.o_proj": [hidden, hidden] },
      ...{ "mlp.gate_proj": [intermediate, hidden], "mlp.up_proj": [intermediate, hidden], "mlp.down_proj": [hidden, intermediate] },
    };
    for (const [part, shape] of Object.entries(parts)) all[`model.layers.${layer}.${part}.weight`] = shape;
  }
  return all;
}

/** https://huggingface.co/docs/safetensors: eight bytes of the header's length, the header, the numbers. */
function safetensors(tensors) {
  const header = {};
  let offset = 0;
  for (const [name, { shape, values }] of Object.entries(tensors)) {
    header[name] = { dtype: "F32", shape, data_offsets: [offset, offset + values.byteLength] };
    offset += values.byteLength;
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, ...Object.values(tensors).map(({ values }) => Buffer.from(values.buffer))]);
}

export function writeTinyModel(folder) {
  mkdirSync(folder, { recursive: true });
  const save = (name, value) => writeFileSync(join(folder, name), JSON.stringify(value, null, 2));
  const bytes = byteCharacters();
  const vocabulary = bytes.length + specials.length;
  const next = normals(7);
  const tensors = Object.fromEntries(
    Object.entries(shapes(vocabulary)).map(([name, shape]) => {
      const count = shape.reduce((product, size) => product * size, 1);
      const values = Float32Array.from({ length: count }, () => (shape.length === 2 ? 0.06 * next() : 1 + 0.1 * next()));
      return [name, { shape, values }];
    }),
  );
  writeFileSync(join(folder, "model.safetensors"), safetensors(tensors));
  save("config.json", {
    ...{ architectures: ["LlamaForCausalLM"], model_type: "llama", dtype: "float32", vocab_size: vocabulary },
    ...{ hidden_size: hidden, intermediate_size: intermediate, num_hidden_layers: layers, num_attention_heads: heads, num_key_value_heads: keyValueHeads },
    ...{ max_position_embeddings: 256, rope_theta: 10000, rms_norm_eps: 1e-6, hidden_act: "silu", tie_word_embeddings: true },
    ...{ bos_token_id: 257, eos_token_id: 258, pad_token_id: 258 },
  });
  save("tokenizer.json", {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: specials.map((content, i) => ({ id: bytes.length + i, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true })),
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      ...{ type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false, byte_fallback: false },
      vocab: Object.fromEntries([...bytes, ...specials].map((token, id) => [token, id])),
      merges: [],
    },
  });
  save("tokenizer_config.json", {
    ...{ tokenizer_class: "PreTrainedTokenizerFast", bos_token: "<|im_start|>", eos_token: "<|im_end|>", pad_token: "<|im_end|>" },
    chat_template: template,
  });
}
