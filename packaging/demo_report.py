#!/usr/bin/env python3
"""The demo's last words. Called by packaging/demo.sh.

ask:    asks the served models one question each over the OpenAI API, as an application would, with a deployment's key
        (read from standard input), and writes the answers to a file.
report: prints held-out perplexity of base and tuned model, the tasks' times, and the answers side by side. Fails unless
        the tuned model is better.
"""
import argparse
import json
import sys
import textwrap
import urllib.error
import urllib.request
from datetime import datetime

WIDTH = 58


class ReportError(Exception):
    """What the demo fails with; one sentence."""


def chat(url, key, model, question):
    """One answer of POST /v1/chat/completions, greedily with a repetition penalty, at most 96 tokens."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": question}], "temperature": 0, "repetition_penalty": 1.15,
                       "max_tokens": 96}).encode()
    request = urllib.request.Request(url + "/v1/chat/completions", body, {
        "Content-Type": "application/json", "Authorization": "Bearer " + key})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=120) as response:
            return json.load(response)["choices"][0]["message"]["content"]
    except urllib.error.HTTPError as error:
        raise ReportError(f"model {model} answered {error.code}: {error.read(500).decode(errors='replace')}") from error
    except (urllib.error.URLError, KeyError, IndexError, ValueError) as error:
        raise ReportError(f"model {model} did not answer: {error}") from error


def ask(options):
    names = json.loads(options.deployment)["servedNames"]
    if len(names) < 2:
        raise ReportError(f"the deployment serves {names}, not the tuned and the base model")
    with open(options.question, encoding="utf-8") as file:
        question = json.load(file)["question"]
    key = sys.stdin.readline().strip()
    answers = {"question": question, "tuned_model": names[0], "base_model": names[1],
               "base": chat(options.url, key, names[1], question), "tuned": chat(options.url, key, names[0], question)}
    with open(options.output, "w", encoding="utf-8") as file:
        json.dump(answers, file)


def seconds(task):
    """How long a task ran, or None."""
    def moment(text):
        # Fractions of any length, as protobuf writes them.
        head, _, fraction = text.rstrip("Z").partition(".")
        return datetime.fromisoformat(head).timestamp() + float("0." + (fraction or "0"))
    if not task.get("startedAt") or not task.get("finishedAt"):
        return None
    return moment(task["finishedAt"]) - moment(task["startedAt"])


def columns(left, right):
    """Two texts side by side, wrapped, blank lines and indents kept."""
    def wrap(text):
        lines = []
        for line in text.splitlines() or [""]:
            lines += textwrap.wrap(line, WIDTH, replace_whitespace=False, drop_whitespace=False,
                                   subsequent_indent="") or [""]
        return lines
    one, two = wrap(left), wrap(right)
    height = max(len(one), len(two))
    one += [""] * (height - len(one))
    two += [""] * (height - len(two))
    return [f"  {a.rstrip():<{WIDTH}} | {b.rstrip()}" for a, b in zip(one, two)]


def report(options):
    with open(options.run, encoding="utf-8") as file:
        run = json.load(file)
    with open(options.answers, encoding="utf-8") as file:
        answers = json.load(file)
    results = run.get("results", {})
    base, tuned = results.get("base_perplexity"), results.get("tuned_perplexity")
    if base is None or tuned is None:
        raise ReportError(f"the run has no perplexities: {results}")
    print(f"\nOne question that was kept back from the data: {answers['question']}\n")
    print("\n".join(columns(f"base ({answers['base_model']})", f"tuned ({answers['tuned_model']})")))
    print("  " + "-" * WIDTH + "-+-" + "-" * WIDTH)
    print("\n".join(columns(answers["base"], answers["tuned"])))
    print("\nTasks of the run")
    for task in run["tasks"]:
        took = seconds(task)
        print(f"  {task['title'] or task['name']:<52} {'' if took is None else f'{took:8.1f} s'}")
    print("\nHeld-out perplexity (lower is better)")
    print(f"  {'base model':<16} {base:8.3f}")
    print(f"  {'tuned model':<16} {tuned:8.3f}   {100 * (tuned - base) / base:+.1f} %")
    if not tuned < base:
        raise ReportError(f"the tuned model is not better: held-out perplexity {tuned:.3f} against {base:.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("ask")
    for flag in ("--url", "--deployment", "--question", "--output"):
        one.add_argument(flag, required=True)
    one.set_defaults(action=ask)
    two = commands.add_parser("report")
    for flag in ("--run", "--answers"):
        two.add_argument(flag, required=True)
    two.set_defaults(action=report)
    options = parser.parse_args()
    try:
        options.action(options)
    except (ReportError, OSError, ValueError, KeyError) as error:
        print(f"demo: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
