"""Chat templates render as Python's Jinja2 does in Transformers' environment, byte for byte; where Python raises, so do we."""
import copy
import glob
import os

import jinja2
import pytest
from transformers.utils.chat_template_utils import _compile_jinja_template as compile_reference

from conversations import cases
from paths import SMOLLM2, TEMPLATES
from tool import Tool, ToolError

FILES = sorted(glob.glob(os.path.join(TEMPLATES, "*.jinja")))


@pytest.fixture(scope="module")
def tool():
    instance = Tool()
    yield instance
    instance.close()


def reference(source, variables):
    try:
        return compile_reference(source).render(**copy.deepcopy(variables))
    except Exception as error:  # whatever it is, ours must raise too
        return error


def ours(tool, source, variables):
    try:
        return tool("render", template=source, variables=variables)
    except ToolError as error:
        assert error.code in ("CHAT_TEMPLATE", "INVALID_MODEL"), error
        return error


def assert_same(tool, source, variables, name):
    expected = reference(source, variables)
    got = ours(tool, source, variables)
    if isinstance(expected, Exception):
        assert isinstance(got, Exception), f"{name}: Python raises {type(expected).__name__}: {expected}; ours gives {got!r}"
        if isinstance(expected, jinja2.exceptions.TemplateError) and type(expected) is jinja2.exceptions.TemplateError:
            assert str(expected) in str(got), name
    else:
        assert got == expected, name


@pytest.mark.parametrize("path", FILES, ids=lambda path: os.path.basename(path)[:-len(".jinja")])
def test_collected_templates(tool, path):
    with open(path, encoding="utf-8") as file:
        source = file.read()
    wrong = []
    for name, variables in cases():
        try:
            assert_same(tool, source, variables, name)
        except AssertionError as error:
            wrong.append(str(error))
    assert not wrong, f"{len(wrong)} wrong:\n" + "\n".join(wrong[:3])


def test_smollm2(tool):
    source = tool("load", path=SMOLLM2)["chat_template"]
    for name, variables in cases():
        assert_same(tool, source, variables, name)


SNIPPETS = open(os.path.join(os.path.dirname(__file__), "snippets.jinja"), encoding="utf-8").read().split("\n=====\n")
VARIABLES = {"x": 5, "f": 2.5, "s": "Hello, Wörld", "l": [3, 1, 2], "d": {"b": 1, "a": {"c": [1, 2]}, "items": "own"}, "n": None, "t": True, "e": [],
             "people": [{"name": "Bo", "age": 3, "tags": ["q"]}, {"name": "al", "age": 2}, {"name": "Cy", "age": 3}], "text": "a\n  b\n\nc\n", "big": 2**53 + 1,
             "quotes": "it's \"q\" \\ \t\x07é\u2028", "nested": [[1, [2, [3]]], []], "floats": [0.1, 1e16, 1e-5, 100.0, -0.0, 1e22, 123456789.123]}


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_snippets(tool, number):
    assert_same(tool, SNIPPETS[number], VARIABLES, SNIPPETS[number])
