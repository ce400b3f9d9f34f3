"""A backend and an agent as real processes, to be killed and started again, and the command line to talk to them."""
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "oracle" / "train"))
from conftest_models import WORDS, make_model  # noqa: E402

BIN = Path(os.environ["SLIPWAY_BIN"])


def wait_until(condition, what, seconds=90):
    """The condition's first true value; polls, because what is waited for is in other processes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


def steps_done(workdir):
    """The trainer's latest step, from its own events."""
    try:
        lines = (workdir / "events.jsonl").read_bytes().splitlines()
    except OSError:
        return 0
    for line in reversed(lines):
        if b'"metric"' in line and b'"loss"' in line and line.endswith(b"}"):
            return json.loads(line)["step"]
    return 0


class Stack:
    def __init__(self, folder):
        self.data = folder / "data"
        self.agent_data = folder / "agent"
        self.logs = folder / "logs"
        self.logs.mkdir(parents=True)
        self.environment = {**os.environ, "SLIPWAY_CONFIG": str(folder / "config.json"), "XDG_CACHE_HOME": str(folder / "cache")}
        for name in ("SLIPWAY_TOKEN", "SLIPWAY_BACKEND"):
            self.environment.pop(name, None)
        self.grpc = self.web = "127.0.0.1:0"
        self.backend = self.agent = None
        self.further = []  # processes of agents beside the first, and their folders

    def start_backend(self):
        self.backend = subprocess.Popen(
            [BIN / "slipwayd", "--data", self.data, "--grpc-listen", self.grpc, "--web-listen", self.web],
            stdout=subprocess.DEVNULL, stderr=open(self.logs / "slipwayd.log", "a"), start_new_session=True)

        def ready():
            assert self.backend.poll() is None, (self.logs / "slipwayd.log").read_text()
            try:
                facts = json.loads((self.data / "slipwayd.json").read_text())
            except (OSError, ValueError):
                return None
            return facts if facts["pid"] == self.backend.pid else None
        facts = wait_until(ready, "slipwayd is ready")
        # The same addresses when it is started again: agents and clients find it where it was.
        self.grpc, self.web = (facts[key].split("://")[-1] for key in ("grpc", "web"))

    def start_agent(self):
        self.agent = self._agent(self.agent_data)

    def start_further_agent(self, name):
        """Another node, on this machine. Returns its folder."""
        data = self.agent_data.parent / name
        self.further.append((self._agent(data, "--name", name), data))
        return data

    def _agent(self, data, *options):
        return subprocess.Popen(
            [BIN / "slipway-agent", "--backend", self.grpc, "--data", data, "--join-file",
             self.data / "local-join-token", *options],
            stdout=open(self.logs / f"{data.name}.log", "a"), stderr=subprocess.STDOUT, start_new_session=True)

    def cli(self, *arguments, text=None):
        done = subprocess.run([BIN / "slipway", "--backend", self.grpc, *map(str, arguments)], input=text, text=True,
                              capture_output=True, env=self.environment, timeout=240)
        assert done.returncode == 0, f"slipway {' '.join(map(str, arguments))}: {done.stdout}{done.stderr}"
        return done.stdout

    def ask(self, *arguments):
        return json.loads(self.cli("--json", *arguments))

    def lines(self, *arguments):
        return [json.loads(line) for line in self.cli("--json", *arguments).splitlines()]

    def sign_in(self):
        link = (self.data / "setup-link").read_text().strip()
        self.cli("login", "--user", "admin", "--password-stdin", "--setup-token", link, text="a long password\n")

    def ended(self, run):
        """The run when it has ended, which it must have done well. `watch` follows it across the backend's death."""
        self.cli("run", "watch", run)
        found = self.ask("run", "show", run)
        assert found["state"] == "RUN_STATE_SUCCEEDED", json.dumps(found, indent=1)
        return found

    def adapter_of(self, run):
        """The hash of the weights that a run has registered."""
        files = self.ask("model", "show", run["modelVersionId"])["artifact"]["files"]
        return {file["path"]: file["sha256"] for file in files}["adapter_model.safetensors"]

    def engine(self, kind, agent_data=None):
        """Folder and latest launch of the attempt whose engine of this kind runs, or None."""
        for folder in ((agent_data or self.agent_data) / "attempts").glob("*"):
            try:
                if json.loads((folder / "start.json").read_text())["engine"] != kind:
                    continue
                launch = max(int(path.stem.split("-")[1]) for path in folder.glob("started-*.json"))
                started = json.loads((folder / f"started-{launch}.json").read_text())
            except (OSError, ValueError):
                continue
            if (folder / f"exit-{launch}.json").exists() or not Path(f"/proc/{started['pid']}").exists():
                continue
            return {"folder": folder, "launch": launch, "pid": started["pid"],
                    "workdir": Path(json.loads((folder / f"launch-{launch}.json").read_text())["workdir"])}
        return None

    def stop(self):
        for process in (self.agent, *(process for process, _ in self.further), self.backend):
            if process is not None and process.poll() is None:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        folders = [self.agent_data, *(data for _, data in self.further)]
        for path in (path for data in folders for path in (data / "attempts").glob("*/started-*.json")):  # engines outlive their agent
            pid = json.loads(path.read_text())["pid"]
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
                if any(str(data).encode() in command for data in folders):
                    os.kill(pid, signal.SIGKILL)
            except (OSError, ProcessLookupError):
                pass


@contextlib.contextmanager
def stack_with_data(folder, rows, further=(), **model):
    """A backend with its agent, and further ones by name; in it a model `tiny` of this size, and questions `rows`."""
    stack = Stack(folder)
    try:
        stack.start_backend()
        stack.sign_in()
        stack.start_agent()
        for name in further:
            stack.start_further_agent(name)
        make_model(folder / "model", **model)
        rng = random.Random(3)
        texts = [{"question": " ".join(rng.choices(WORDS, k=8)) + "?", "answer": " ".join(rng.choices(WORDS, k=30))}
                 for _ in range(rows)]
        (folder / "rows.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
        stack.cli("model", "import", folder / "model", "--name", "tiny")
        stack.cli("dataset", "import", folder / "rows.jsonl", "--name", "rows", "--format", "prompt_completion",
                  "--map", "prompt=question", "--map", "completion=answer")
        wait_until(lambda: len(stack.ask("node", "list")["nodes"]) == 1 + len(further), "all nodes have joined")
        yield stack
    finally:
        stack.stop()
