# A pytest plugin under which llama.cpp's server tests start slipway-serve where they would start llama-server. Used by
# test_llama_cpp.py. It changes how the server is started and what a path or field is called, and no expectation.
import os
import pathlib
import subprocess
import sys
import types

# The models that the tests name, all of them the one model: llama-server answers to any name, slipway-serve to its own.
NAMES = ["tinyllama-2", "gpt-3.5-turbo-instruct", "text-embedding-3-small", "bert-bge-small"]

sys.modules.setdefault("wget", types.ModuleType("wget"))  # nothing is downloaded


# Tests that need a model which writes text; a tiny random one, which starts faster, does for the others.
NEED_TEXT = ["test_logprobs", "test_chat_completions_multiple_choices"]


def start(self, timeout_seconds=60):
    import utils
    running = os.environ["PYTEST_CURRENT_TEST"]
    model = os.environ["SLIPWAY_TEXT_MODEL" if any(name in running for name in NEED_TEXT) else "SLIPWAY_TINY_MODEL"]
    command = [pathlib.Path(os.environ["SLIPWAY_BIN"]) / "slipway-serve", "--listen", "127.0.0.1:0",
               *[flag for name in NAMES for flag in ("--model", f"{name}={model}")],
               "--max-model-len", str(self.n_ctx), "--max-num-seqs", str(self.n_slots)]
    environment = {**os.environ, "SLIPWAY_API_KEY": self.api_key or ""}
    self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    url = self.process.stdout.readline().strip()
    assert url.startswith("http://127.0.0.1:"), f"slipway-serve did not start: {command}"
    self.server_port = int(url.rsplit(":", 1)[1])
    utils.server_instances.add(self)


def translated(make_request):
    """llama.cpp's names for what OpenAI and vLLM have too."""
    def request(self, method, path, data=None, **more):
        if path in ("/completions", "/chat/completions"):
            path = "/v1" + path
        if path == "/tokenize":
            data = {"prompt": data["content"], "add_special_tokens": data.get("add_special", False)}
        response = make_request(self, method, path, data=data, **more)
        if path == "/detokenize":
            response.body["content"] = response.body.pop("prompt")
        return response
    return request


def pytest_configure(config):
    sys.path.insert(0, str(config.rootpath))
    import utils
    utils.ServerProcess.start = start
    utils.ServerProcess.make_request = translated(utils.ServerProcess.make_request)
    utils.ServerPreset.load_all = staticmethod(lambda: None)
