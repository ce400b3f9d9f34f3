#!/usr/bin/env python3
"""Makes a question-and-answer data set from Debian's perlfaq: one JSON object a line, {"question","answer","source","credit"}.

Who contributed an answer stands before it in perlfaq, in parentheses: it is kept as the credit, not as part of the answer.

Called by packaging/demo.sh and packaging/up.sh. The pod parser is this file's own; the format is described in perlpod(1)
and perlpodspec(1). Answers are Markdown: code in backticks, verbatim paragraphs in fences, lists with dashes or numbers.
"""
import argparse
import html
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ENTITIES = {"lt": "<", "gt": ">", "verbar": "|", "sol": "/", "amp": "&", "quot": '"', "apos": "'", "nbsp": " ",
            "lchevron": "«", "rchevron": "»", "laquo": "«", "raquo": "»"}
CREDIT = re.compile(r"\([^()]*\bcontributed by\b[^()]*\)")
CODE_START = re.compile(r"[A-Z]<")


class PodError(Exception):
    """A pod file that cannot be read; the message names file and line."""


def parse_formatting(text):
    """Formatting codes as a tree: a list of plain strings and (letter, children) pairs.

    Both forms are read, also nested: C<...> ends at the first '>' that no inner code owns; C<< ... >> ends at white space
    and as many '>' as opened it, and owns single ones. A code without an end runs to the end of the paragraph.
    """
    nodes, _ = _parse_until(text, 0, None)
    return nodes


def _parse_until(text, position, brackets):
    nodes, plain = [], []

    def flush():
        if plain:
            nodes.append("".join(plain))
            plain.clear()

    while position < len(text):
        if brackets == 1 and text[position] == ">":
            flush()
            return nodes, position + 1
        if brackets is not None and brackets > 1 and text[position].isspace():
            end = position
            while end < len(text) and text[end].isspace():
                end += 1
            if text.startswith(">" * brackets, end) and not text.startswith(">" * (brackets + 1), end):
                flush()
                return nodes, end + brackets
        if CODE_START.match(text, position):
            letter = text[position]
            start = position + 1
            count = 0
            while start + count < len(text) and text[start + count] == "<":
                count += 1
            after = start + count
            if count > 1 and after < len(text) and text[after].isspace():
                while after < len(text) and text[after].isspace():
                    after += 1
                flush()
                children, position = _parse_until(text, after, count)
            else:  # "C<<foo>" without white space: one bracket, the rest is text
                flush()
                children, position = _parse_until(text, start + 1, 1)
            nodes.append((letter, children))
            continue
        plain.append(text[position])
        position += 1
    flush()
    return nodes, position


def plain_text(nodes):
    """The text of a tree without any mark-up."""
    return render(nodes, marks=False)


def render(nodes, marks=True):
    """A tree of formatting codes as Markdown, or as bare text without `marks`."""
    out = []
    for node in nodes:
        if isinstance(node, str):
            out.append(node)
            continue
        letter, children = node
        if letter == "E":
            out.append(entity(plain_text(children)))
        elif letter in "XZ":  # index entries, and the empty code
            continue
        elif letter == "L":
            out.append(render_link(children, marks))
        elif letter == "C" and marks:
            code = plain_text(children)
            fence = "``" if "`" in code else "`"
            pad = " " if code.startswith("`") or code.endswith("`") else ""
            out.append(f"{fence}{pad}{code}{pad}{fence}" if code else "")
        elif letter == "B" and marks:
            out.append(f"**{render(children)}**")
        elif letter == "I" and marks:
            out.append(f"*{render(children)}*")
        else:  # F, S, and any letter that a later perl may add
            out.append(render(children, marks))
    return "".join(out)


def entity(name):
    """The character of E<name>: a name, a decimal, an octal (leading 0) or a hexadecimal (0x) number."""
    if name in ENTITIES:
        return ENTITIES[name]
    try:
        if name.lower().startswith("0x"):
            return chr(int(name, 16))
        if name.startswith("0") and len(name) > 1:
            return chr(int(name, 8))
        if name.isdigit():
            return chr(int(name))
    except (ValueError, OverflowError):
        pass
    resolved = html.unescape(f"&{name};")
    return resolved if resolved != f"&{name};" else name


def split_link(children):
    """A link's label (or None) and target, cut at the first '|' that is not inside another code."""
    label, rest = [], []
    found = False
    for node in children:
        if not found and isinstance(node, str) and "|" in node:
            before, after = node.split("|", 1)
            label.append(before)
            rest.append(after)
            found = True
        else:
            (rest if found else label).append(node)
    return (label, rest) if found else (None, label)


def render_link(children, marks):
    label, target_nodes = split_link(children)
    target = plain_text(target_nodes).strip()
    is_url = re.match(r"[a-z][a-z0-9+.-]*:[^:]", target, re.I) is not None
    if label is not None:
        text = render(label, marks)
        return f"[{text}]({target})" if is_url and marks else text
    if is_url:
        return target
    name, _, section = target.partition("/")
    section = section.strip().strip('"')
    if not section:
        name = name.strip('"')
        return f"`{name}`" if marks and name else name
    if not name:
        return f'"{section}"'
    return f'"{section}" in ' + (f"`{name}`" if marks else name)


@dataclass
class Paragraph:
    kind: str  # command, verbatim, ordinary
    text: str
    line: int
    command: str = ""


def paragraphs(text, name="pod"):
    """Cuts a pod document into paragraphs. Text before the first command and after =cut is not pod."""
    result = []
    in_pod = False
    skip_until = None
    lines = text.split("\n")
    index = 0
    while index < len(lines):
        if not lines[index].strip():
            index += 1
            continue
        start = index
        while index < len(lines) and lines[index].strip():
            index += 1
        block = "\n".join(lines[start:index])
        command = re.match(r"=([a-zA-Z][a-zA-Z0-9]*)[ \t]*", block)
        if command:
            word, body = command.group(1), block[command.end():]
            in_pod = word != "cut"
            if skip_until is not None:
                if word == "end" and body.split()[:1] == [skip_until]:
                    skip_until = None
                continue
            if word == "begin":
                target = body.split()
                if not target:
                    raise PodError(f"{name}:{start + 1}: =begin names no format; write =begin FORMAT")
                skip_until = target[0]
            elif word not in ("pod", "cut", "encoding", "for", "end"):
                result.append(Paragraph("command", body, start + 1, word))
        elif in_pod and skip_until is None:
            kind = "verbatim" if block[0] in " \t" else "ordinary"
            result.append(Paragraph(kind, block, start + 1))
    return result


def reflow(text):
    """One paragraph on one line, as Markdown and chat want it."""
    return re.sub(r"\s+", " ", text).strip()


def dedent(text):
    lines = [line.expandtabs(8).rstrip() for line in text.split("\n")]
    margin = min((len(line) - len(line.lstrip()) for line in lines if line), default=0)
    return "\n".join(line[margin:] for line in lines)


@dataclass
class Section:
    question: str
    line: int
    blocks: list = field(default_factory=list)


def indent_block(block, depth):
    if depth == 0:
        return block
    pad = "  " * depth
    return "\n".join(pad + line if line else line for line in block.split("\n"))


def questions(text, name="pod"):
    """The =head2 sections of a pod document as [Section]; each block is a paragraph of Markdown."""
    sections = []
    current = None
    lists = []  # of [next number or None]
    pending_marker = None
    previous_verbatim = False

    def add(block, depth_offset=0):
        nonlocal pending_marker
        if current is None:
            return
        depth = max(0, len(lists) + depth_offset)
        if pending_marker is not None:
            marker, pending_marker = pending_marker, None
            current.blocks.append(indent_block(marker + block, depth - 1))
            return
        current.blocks.append(indent_block(block, depth))

    for paragraph in paragraphs(text, name):
        if paragraph.kind == "verbatim":
            body = "\n".join(line.expandtabs(8).rstrip() for line in paragraph.text.split("\n"))
            if previous_verbatim and current is not None:
                current.blocks[-1][1].append(body)
            elif current is not None:
                if pending_marker is not None:
                    current.blocks.append(indent_block(pending_marker.rstrip(), max(0, len(lists) - 1)))
                    pending_marker = None
                current.blocks.append((len(lists), [body]))
            previous_verbatim = current is not None
            continue
        previous_verbatim = False
        if paragraph.kind == "ordinary":
            add(reflow(render(parse_formatting(paragraph.text))))
            continue
        command, body = paragraph.command, paragraph.text
        if command == "head1":
            current, pending_marker = None, None
            lists.clear()
        elif command == "head2":
            pending_marker = None
            lists.clear()
            current = Section(reflow(plain_text(parse_formatting(body))), paragraph.line)
            sections.append(current)
        elif command in ("head3", "head4", "head5", "head6"):
            add("**" + reflow(plain_text(parse_formatting(body))) + "**")
        elif command == "over":
            if pending_marker is not None and current is not None:
                current.blocks.append(indent_block(pending_marker.rstrip(), max(0, len(lists) - 1)))
                pending_marker = None
            lists.append(None)
        elif command == "back":
            if not lists and current is not None:
                raise PodError(f"{name}:{paragraph.line}: =back without =over")
            if pending_marker is not None and current is not None:
                current.blocks.append(indent_block(pending_marker.rstrip(), max(0, len(lists) - 1)))
                pending_marker = None
            if lists:
                lists.pop()
        elif command == "item":
            if pending_marker is not None and current is not None:
                current.blocks.append(indent_block(pending_marker.rstrip(), max(0, len(lists) - 1)))
            label = reflow(render(parse_formatting(body)))
            number = re.fullmatch(r"(\d+)[.)]?", label)
            if label in ("", "*"):
                pending_marker = "- "
            elif number:
                pending_marker = f"{number.group(1)}. "
            elif label.startswith("* "):
                pending_marker = None
                add("- " + label[2:], -1)
            else:
                numbered = re.match(r"(\d+)[.)]\s+(.*)", label)
                pending_marker = None
                add(f"{numbered.group(1)}. {numbered.group(2)}" if numbered else "- " + label, -1)
    for section in sections:
        section.blocks = [block if isinstance(block, str) else
                          indent_block("```\n" + dedent("\n\n".join(block[1])) + "\n```", block[0])
                          for block in section.blocks]
        section.blocks = [block for block in section.blocks if block.strip()]
    return sections


def make_rows(path):
    """The rows of one pod file; questions without an answer (headings of groups) are left out."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        text = path.read_text(encoding="latin-1")
    rows = []
    for section in questions(text, str(path)):
        blocks = section.blocks
        credit = blocks.pop(0)[1:-1] if blocks and CREDIT.fullmatch(blocks[0]) else ""
        answer = "\n\n".join(blocks).strip()
        if section.question and answer:
            rows.append({"question": section.question, "answer": answer, "source": path.stem, "credit": credit})
    return rows


def find_pods():
    """perlfaq1 to perlfaq9 as Debian installed them: by the package's own list, else by perldoc."""
    found = {}
    try:
        listed = subprocess.run(["dpkg", "-L", "perl-doc"], capture_output=True, text=True, check=True).stdout
        for line in listed.splitlines():
            match = re.fullmatch(r"perlfaq([1-9])\.pod", os.path.basename(line))
            if match and os.path.isfile(line):
                found[match.group(1)] = Path(line)
    except (OSError, subprocess.CalledProcessError):
        pass
    for number in "123456789":
        if number in found:
            continue
        try:
            located = subprocess.run(["perldoc", "-l", f"perlfaq{number}"], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise PodError(f"perlfaq{number} is not installed; run: apt-get install perl-doc") from error
        found[number] = Path(located.stdout.strip())
    return [found[number] for number in sorted(found)]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", required=True, type=Path, help="JSONL file to write")
    parser.add_argument("pods", nargs="*", type=Path, help="pod files; default: the installed perlfaq1 to perlfaq9")
    options = parser.parse_args(arguments)
    try:
        rows = [row for path in (options.pods or find_pods()) for row in make_rows(path)]
        if not rows:
            raise PodError("no =head2 question with an answer was found; give perlfaq's pod files")
        temporary = options.output.with_name(options.output.name + ".tmp")
        temporary.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        os.replace(temporary, options.output)
    except (PodError, OSError) as error:
        print(f"make_perlfaq: error: {error}", file=sys.stderr)
        return 1
    print(f"make_perlfaq: {len(rows)} questions in {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
