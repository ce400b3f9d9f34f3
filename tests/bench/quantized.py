#!/usr/bin/env python3
"""What quantised weights cost: perplexity on held-out perlfaq answers of f32, int8, int4 and calibrated int4. Measures, and
is no test.

The only model at hand is stored in blocks of four bits, whose grid plain rounding finds again. So the same function is
measured in other weights too: norms folded into what reads them, and the MLP's inner columns scaled up here and down
there. Its f32 perplexity is the same, and its weights lie on no grid.
"""
import argparse
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / "build" / "bin"
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
F32, Q4_1, Q8_0 = 0, 3, 8


def read_gguf(path: Path) -> dict:
    """Name -> f32 array, of the types that SmolLM2's file holds."""
    data, at = path.read_bytes(), 4

    def take(form: str):
        nonlocal at
        values = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return values

    def text() -> str:
        nonlocal at
        size, = take("Q")
        at += size
        return data[at - size:at].decode("utf-8", "replace")

    def skip(kind: int):
        nonlocal at
        if kind == 8:
            text()
        elif kind == 9:
            inner, count = take("IQ")
            for _ in range(count):
                skip(inner)
        else:
            at += SIZES[kind]

    _, tensors, keys = take("IQQ")
    for _ in range(keys):
        text()
        skip(take("I")[0])
    entries = []
    for _ in range(tensors):
        name = text()
        shape = take("Q" * take("I")[0])[::-1]
        entries.append((name, shape, *take("IQ")))
    begin = (at + 31) // 32 * 32
    out = {}
    for name, shape, kind, offset in entries:
        count = int(np.prod(shape))
        if kind == F32:
            values = np.frombuffer(data, "<f4", count, begin + offset)
        elif kind == Q8_0:
            blocks = np.frombuffer(data, [("d", "<f2"), ("q", "i1", 32)], count // 32, begin + offset)
            values = blocks["d"].astype("f4")[:, None] * blocks["q"]
        elif kind == Q4_1:
            blocks = np.frombuffer(data, [("d", "<f2"), ("m", "<f2"), ("q", "u1", 16)], count // 32, begin + offset)
            q = np.concatenate([blocks["q"] & 15, blocks["q"] >> 4], axis=1)
            values = blocks["d"].astype("f4")[:, None] * q + blocks["m"].astype("f4")[:, None]
        else:
            sys.exit(f"quantized: error: {name} is of type {kind}, which is not known here")
        out[name] = values.reshape(shape).astype("f4")
    return out


def unpermuted(weights, heads: int):
    rows, columns = weights.shape
    return weights.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_other_weights(model: Path, folder: Path):
    """The same function in weights that lie on no grid, as a Hugging Face folder (tokenizer from `model`)."""
    read, random = read_gguf(model), np.random.default_rng(1)
    out = {"model.embed_tokens.weight": read["token_embd.weight"], "model.norm.weight": read["output_norm.weight"]}
    for i in range(30):
        old, new = (lambda name: read[f"blk.{i}.{name}.weight"]), f"model.layers.{i}."
        attention, mlp, inner, values = (np.exp(random.normal(0, 0.1, size)).astype("f4") for size in (576, 576, 1536, 192))
        out[new + "input_layernorm.weight"] = old("attn_norm") / attention
        out[new + "post_attention_layernorm.weight"] = old("ffn_norm") / mlp
        out[new + "self_attn.q_proj.weight"] = unpermuted(old("attn_q"), 9) * attention
        out[new + "self_attn.k_proj.weight"] = unpermuted(old("attn_k"), 3) * attention
        out[new + "self_attn.v_proj.weight"] = old("attn_v") * attention * values[:, None]
        # Three query heads read each head of values.
        out[new + "self_attn.o_proj.weight"] = old("attn_output") / np.repeat(values.reshape(3, 1, 64), 3, 1).reshape(-1)
        out[new + "mlp.gate_proj.weight"] = old("ffn_gate") * mlp
        out[new + "mlp.up_proj.weight"] = old("ffn_up") * mlp * inner[:, None]
        out[new + "mlp.down_proj.weight"] = old("ffn_down") / inner
    folder.mkdir()
    save_file({name: np.ascontiguousarray(value, "f4") for name, value in out.items()}, folder / "model.safetensors",
              metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 49152, "hidden_size": 576,
        "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
        "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 100000.0, "hidden_act": "silu",
        "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2}))


def perplexity(model: Path, dtype: str, data: Path, cache: str = "auto") -> float:
    with tempfile.TemporaryDirectory() as workdir:
        spec = {"version": 1, "kind": "eval", "model": {"path": str(model), "dtype": dtype, "kv_cache_dtype": cache},
                "tasks": [{"name": "perlfaq", "type": "perplexity", "max_length": 512,
                           "data": {"path": str(data), "format": "text"}}]}
        path = Path(workdir) / "spec.json"
        path.write_text(json.dumps(spec))
        subprocess.run([BIN / "slipway-eval", "--spec", path, "--workdir", workdir], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return json.loads((Path(workdir) / "results.json").read_text())["results"]["perlfaq"]["perplexity,none"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path, help="SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--rows", type=int, default=24, help="held-out rows")
    parser.add_argument("--calibration-rows", type=int, default=48)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, ROOT / "packaging/make_perlfaq.py", "--output", folder / "all.jsonl"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        rows = [json.loads(line) for line in (folder / "all.jsonl").read_text().splitlines()]
        texts = [json.dumps({"text": row["question"] + "\n\n" + row["answer"]}) + "\n" for row in rows]
        held, rest = folder / "held.jsonl", folder / "rest.jsonl"
        held.write_text("".join(texts[::8][:options.rows]))
        rest.write_text("".join(text for i, text in enumerate(texts) if i % 8))

        def report(what: str, value: float, exact: float):
            print(f"{what:<52} {value:8.4f} {100 * (value / exact - 1):+7.2f} %", flush=True)

        exact = perplexity(options.model, "f32", held)
        report("f32, as the file has it", exact, exact)
        for dtype, cache in (("f32", "bf16"), ("f32", "int8"), ("bf16", "auto"), ("int8", "auto"), ("int8", "int8"),
                             ("int4", "auto")):
            report(f"{dtype}, cache {cache}", perplexity(options.model, dtype, held, cache), exact)
        other = folder / "other"
        write_other_weights(options.model, other)
        plain = folder / "tokenizer.slipway"
        subprocess.run([BIN / "slipway-quantize", "--model", options.model, "--output", plain], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for name, content in tokenizer_files(plain).items():
            (other / name).write_bytes(content)
        report("f32, off the grid", perplexity(other, "f32", held), exact)
        report("int8, off the grid", perplexity(other, "int8", held), exact)
        report("int4, off the grid", perplexity(other, "int4", held), exact)
        output = folder / "calibrated.slipway"
        subprocess.run([BIN / "slipway-quantize", "--model", other, "--output", output, "--dtype", "int4",
                        "--calibration", rest, "--calibration-rows", str(options.calibration_rows)], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        report("int4, off the grid, calibrated", perplexity(output, "auto", held), exact)


def tokenizer_files(container: Path) -> dict:
    data = container.read_bytes()
    header = json.loads(data[32:32 + struct.unpack_from("<Q", data, 16)[0]])
    return {name: data[part["offset"]:part["offset"] + part["bytes"]] for name, part in header["files"].items()
            if name != "config.json"}


if __name__ == "__main__":
    main()
