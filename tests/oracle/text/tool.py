"""Drives text_tool, one JSON object per line each way. Used by the oracle tests."""
import json
import os
import subprocess


class ToolError(Exception):
    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


class Tool:
    def __init__(self):
        self.process = subprocess.Popen([os.path.join(os.environ["SLIPWAY_TESTS"], "text_tool")],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")

    def __call__(self, op, **arguments):
        self.process.stdin.write(json.dumps({"op": op, **arguments}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise ToolError(answer["error"], answer["message"])
        return answer["ok"]

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)
