"""Fails on any include that ARCHITECTURE.md's edges do not allow. Run by ctest: check_edges.py REPOSITORY"""
import re
import subprocess
import sys
from pathlib import Path

# Room -> rooms it may include. A room is the longest of these prefixes of a path.
ALLOWED = {
    "backend/base": set(),
    "backend/net": {"backend/base"},
    "backend/domain": {"backend/base"},
    "backend/store": {"backend/domain", "backend/base"},
    "backend/artifacts": {"backend/base"},
    "backend/service": {"backend/domain", "workflows", "backend/store", "backend/artifacts", "backend/base",
                        # Imports are checked, and previews rendered, by the engines' own readers.
                        "agents/engine/model", "agents/engine/text", "agents/engine/prep"},
    # Bytes of artifacts go straight from the store to the stream, and the services answer with the store's records.
    "backend/rpc": {"backend/service", "backend/domain", "backend/artifacts", "backend/store", "backend/base"},
    "backend/web": {"backend/artifacts", "backend/service", "backend/net", "backend/base"},
    "backend/main.cpp": {"*"},
    "workflows": {"backend/domain", "backend/base"},
    "agents/node": {"agents/engine/spec", "backend/base"},
    "agents/engine/spec": {"backend/base"},
    "agents/engine/model": {"backend/base"},
    "agents/engine/text": {"agents/engine/model", "backend/base"},
    "agents/engine/kernels": {"backend/base"},
    "agents/engine/runtime": {"agents/engine/kernels", "agents/engine/model", "agents/engine/text", "backend/base"},
    "agents/engine/prep": {"agents/engine/text", "agents/engine/spec", "backend/base"},
    # The trainer runs the runtime once, to compare logits before it publishes.
    "agents/engine/train": {"agents/engine/model", "agents/engine/text", "agents/engine/runtime", "agents/engine/spec",
                            "backend/base"},
    "agents/engine/eval": {"agents/engine/runtime", "agents/engine/model", "agents/engine/text", "agents/engine/spec",
                           "backend/base"},
    # Packs weights as the kernels read them, and runs calibration rows through the decoder.
    "agents/engine/quantize": {"agents/engine/runtime", "agents/engine/kernels", "agents/engine/model",
                               "agents/engine/text", "agents/engine/spec", "backend/base"},
    "agents/engine/serve": {"agents/engine/runtime", "agents/engine/model", "agents/engine/text", "agents/engine/spec",
                            "backend/net", "backend/base"},
    "app/desktop": {"backend/base"},
    "app/cli": {"backend/base"},
}
# Outside headers that only some rooms may include: pattern -> rooms.
OUTSIDE = [
    (re.compile(r"slipway/v1/.*\.pb\.h$|^google/protobuf/|^grpc"),
     {"backend/rpc", "backend/web", "agents/node", "app/cli", "backend/main.cpp"}),
    (re.compile(r"^(torch|ATen|c10)/"), {"agents/engine/train"}),
    (re.compile(r"^tvm/ffi/"), {"agents/engine/runtime"}),
    (re.compile(r"^(arrow|parquet)/"), {"agents/engine/text"}),
    (re.compile(r"^Q[A-Za-z]|^Qt[A-Z]|^qt6keychain|^qtkeychain"), {"app/desktop"}),
    (re.compile(r"^boost/(beast|asio)"), {"backend/net", "backend/web", "agents/engine/serve"}),
]
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')
LONGEST_FILE = 800


def room_of(path: str):
    matches = [room for room in ALLOWED if path == room or path.startswith(room + "/")]
    return max(matches, key=len) if matches else None


def check(root: Path, files: list[str]) -> list[str]:
    problems = []
    for name in files:
        if not name.endswith((".cpp", ".h", ".cu", ".cuh")):
            continue
        lines = (root / name).read_text(encoding="utf-8").splitlines()
        if len(lines) > LONGEST_FILE:
            problems.append(f"{name}: {len(lines)} lines; split it along a seam (at most {LONGEST_FILE})")
        room = room_of(name)
        if name.startswith("tests/"):
            continue  # tests may reach into what they test
        if room is None:
            problems.append(f"{name}: lies in no room of ARCHITECTURE.md")
            continue
        for number, line in enumerate(lines, 1):
            found = INCLUDE.match(line)
            if not found:
                continue
            header = found.group(1)
            target = room_of(header)
            allowed = ALLOWED[room]
            if target and target != room and "*" not in allowed and target not in allowed:
                problems.append(f"{name}:{number}: {room} may not include {target} ({header})")
            for pattern, rooms in OUTSIDE:
                if pattern.search(header) and room not in rooms:
                    problems.append(f"{name}:{number}: only {', '.join(sorted(rooms))} may include {header}")
    return problems


def main() -> int:
    root = Path(sys.argv[1])
    listed = subprocess.run(["git", "-C", str(root), "ls-files", "-co", "--exclude-standard"],
                            capture_output=True, text=True, check=True)
    problems = check(root, [name for name in listed.stdout.splitlines() if (root / name).is_file()])
    print("\n".join(problems) or "every include keeps to the edges")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
