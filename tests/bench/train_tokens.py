"""Tokenising and packing: slipway-train beside `datasets`, `tokenizers` and TRL's packing, with the same threads.

Both begin with the JSONL file and end with packed rows that training can read. Twice: every token trained (the chat
template and one encoding a row), and the replies alone (TRL's way for a template without {% generation %}: the prompt
and the whole conversation are both written and encoded). Called by train.py; the peer's libraries that only this needs
go to a folder of their own when it runs first.
"""
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WHEELS = ["datasets==5.2.0", "pandas==3.1.1", "dill==0.4.1", "multiprocess==0.70.19", "xxhash==4.1.0", "python-dateutil==2.9.0.post0",
          "six==1.17.0"]
REPEATS = 100  # of perlfaq: 36 MB, 9 million tokens
RUNS = 3

# Arguments: model file, data, threads, processes, whether only replies are trained. Prints tokens per second.
PEER = """
import json, sys, time
from pathlib import Path
model, data, threads, processes, replies = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "1"
import datasets
from transformers import AutoTokenizer
from trl.data_utils import pack_dataset
datasets.disable_progress_bars()
tokenizer = AutoTokenizer.from_pretrained(model.parent, gguf_file=model.name)
def encode(texts):
    return tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
def rows(batch):
    messages = batch["messages"]
    ids = encode(tokenizer.apply_chat_template(messages, tokenize=False))
    if not replies:
        return {"input_ids": ids}
    prompts = encode(tokenizer.apply_chat_template([m[:-1] for m in messages], tokenize=False, add_generation_prompt=True))
    return {"input_ids": ids, "completion_mask": [[0] * len(p) + [1] * (len(i) - len(p)) for p, i in zip(prompts, ids)]}
begin = time.perf_counter()
table = datasets.load_dataset("json", data_files=data, split="train")
table = table.map(rows, batched=True, remove_columns=table.column_names, num_proc=processes if processes > 1 else None)
packed = pack_dataset(table, 512)
seconds = time.perf_counter() - begin
print(json.dumps({"seconds": seconds, "rows": len(packed)}))
"""


def wheels(deps: Path) -> Path:
    folder = deps / "bench-datasets"
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--target", folder, *WHEELS],
                       check=True)
        (folder / "complete").touch()
    return folder


def ours(binary: Path, model: Path, data: Path, folder: Path, threads: int, replies: bool) -> tuple:
    """Seconds of the phase tokenize, which ends with packed rows, and the tokens it made. Stopped before it trains."""
    workdir = Path(tempfile.mkdtemp(dir=folder))
    spec = {"version": 1, "kind": "train", "model": {"path": str(model)}, "method": {"type": "lora"},
            "data": {"train": [{"path": str(data), "format": "messages"}]},
            "training": {"num_train_epochs": 1, "max_length": 512, "packing": True, "assistant_only_loss": replies}}
    (workdir / "spec.json").write_text(json.dumps(spec))
    events = workdir / "events.jsonl"
    process = subprocess.Popen([binary, "--spec", workdir / "spec.json", "--workdir", workdir], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": str(threads)})
    while process.poll() is None and '"tokenize","state":"end"' not in (events.read_text() if events.exists() else ""):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    said = [json.loads(line) for line in events.read_text().splitlines()]
    at = {e["state"]: e["time"] for e in said if e["type"] == "phase" and e["name"] == "tokenize"}
    seconds = [time.mktime(time.strptime(at[s][:19], "%Y-%m-%dT%H:%M:%S")) + float(at[s][19:23]) for s in ("begin", "end")]
    tokens = next(e["values"]["train_tokens"] for e in said if e["type"] == "metric" and "train_tokens" in e["values"])
    return seconds[1] - seconds[0], tokens


def theirs(deps: Path, model: Path, data: Path, folder: Path, threads: int, processes: int, replies: bool) -> float:
    """Seconds from the file to packed rows, imports and the tokenizer's loading left out."""
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        done = subprocess.run([sys.executable, "-c", PEER, model, data, str(threads), str(processes), str(int(replies))],
                              capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": str(wheels(deps)), "HF_HOME": cache, "HF_HUB_OFFLINE": "1",
                                   "RAYON_NUM_THREADS": str(threads // processes), "TOKENIZERS_PARALLELISM": "true"})
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return json.loads(done.stdout.strip().splitlines()[-1])["seconds"]


def measure(binary: Path, deps: Path, model: Path, rows: Path, folder: Path, threads: int) -> None:
    """In turns: ours, theirs in one process with threads, theirs in as many processes; median of three."""
    data = folder / "many.jsonl"
    data.write_text(rows.read_text() * REPEATS)
    for replies in (False, True):
        times = {"ours": [], "threads": [], "processes": []}
        for _ in range(RUNS):
            seconds, tokens = ours(binary, model, data, folder, threads, replies)
            times["ours"].append(seconds)
            times["threads"].append(theirs(deps, model, data, folder, threads, 1, replies))
            times["processes"].append(theirs(deps, model, data, folder, threads, threads, replies))
        rate = {who: tokens / statistics.median(taken) for who, taken in times.items()}
        best = max(rate["threads"], rate["processes"])
        print(f"tokenising and packing, {'replies' if replies else 'all tokens'} trained: slipway-train {rate['ours']:,.0f} tokens/s; datasets, "
              f"tokenizers and TRL {rate['threads']:,.0f} in one process of {threads} threads, {rate['processes']:,.0f} in {threads} processes; "
              f"{rate['ours'] / best:.1f} times the best", flush=True)
