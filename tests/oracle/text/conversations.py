"""Conversations of every kind that chat templates know. Used by the oracle tests."""

USER = {"role": "user", "content": "What is <b>2 + 2</b> & why?\n"}
ASSISTANT = {"role": "assistant", "content": "It's 4, \"of course\"."}
SYSTEM = {"role": "system", "content": "You are terse. "}

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather's state at a place.\nIn metric units.",
    "parameters": {"type": "object", "properties": {
        "city": {"type": "string", "description": "A city, e.g. Zürich"},
        "days": {"type": "integer", "description": "How many", "default": 3, "minimum": 1},
        "unit": {"type": "string", "enum": ["c", "f"]},
        "where": {"type": "object", "properties": {"lat": {"type": "number"}, "tags": {"type": "array", "items": {"type": "string"}}}, "required": ["lat"]},
        "flags": {"type": ["boolean", "null"]}, "any": {"anyOf": [{"type": "string"}, {"type": "number"}]}},
        "required": ["city", "days"]}, "return": {"type": "object", "properties": {"t": {"type": "number"}}}}}
CLOCK = {"type": "function", "function": {"name": "clock", "description": "Tells the time", "parameters": {"type": "object", "properties": {}}}}


def call(arguments, identifier="abcdefghi", name="get_weather"):
    return {"id": identifier, "type": "function", "function": {"name": name, "arguments": arguments}}


CALLS = {"role": "assistant", "content": "", "tool_calls": [call({"city": "Zürich", "days": 2, "where": {"lat": 47.5, "tags": ["a", "b"]}, "flags": None})]}
TWO_CALLS = {"role": "assistant", "content": "Let me look.", "tool_calls": [call({"city": "Bern", "days": 1}, "aaaaaaaa1"), call({}, "bbbbbbbb2", "clock")]}
TEXT_CALLS = {"role": "assistant", "content": None, "tool_calls": [call("{\"city\": \"Bern\", \"days\": 1}")]}
RESULT = {"role": "tool", "name": "get_weather", "tool_call_id": "abcdefghi", "content": "{\"t\": 21.5}"}
RESULT_OBJECT = {"role": "tool", "name": "get_weather", "tool_call_id": "abcdefghi", "content": {"t": 21.5, "ok": True, "none": None}}

CONVERSATIONS = {
    "user": [USER],
    "system": [SYSTEM, USER],
    "turns": [USER, ASSISTANT, {"role": "user", "content": "Sure?"}],
    "system_turns": [SYSTEM, USER, ASSISTANT, {"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "  Yes.\n"}],
    "developer": [{"role": "developer", "content": "Be nice."}, USER],
    "thinking": [USER, {"role": "assistant", "reasoning_content": "Two and two.", "content": "4"}, {"role": "user", "content": "And 3 + 3?"}],
    "thinking_tags": [USER, {"role": "assistant", "content": "<think>\nHm.\n</think>\n\n4"}, {"role": "user", "content": "And 3 + 3?"}],
    "parts": [{"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}]}, ASSISTANT],
    "image": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}],
    "calls": [USER, CALLS, RESULT, ASSISTANT],
    "calls_open": [SYSTEM, USER, CALLS, RESULT],
    "calls_only": [USER, CALLS],
    "two_calls": [USER, TWO_CALLS, {**RESULT, "tool_call_id": "aaaaaaaa1"}, {**RESULT, "name": "clock", "tool_call_id": "bbbbbbbb2", "content": "12:00"}, ASSISTANT, USER],
    "text_calls": [USER, TEXT_CALLS, RESULT, ASSISTANT],
    "object_result": [USER, CALLS, RESULT_OBJECT],
    "thinking_calls": [USER, {**CALLS, "reasoning_content": "I must look."}, RESULT, ASSISTANT, USER],
    "wrong_order": [USER, USER],
    "wrong_role": [{"role": "narrator", "content": "Once upon a time"}, USER],
    "assistant_first": [ASSISTANT, USER],
    "empty_content": [{"role": "user", "content": ""}],
    "no_content": [{"role": "user"}],
    "nothing": [],
}

TOOLS = {"none": None, "one": [WEATHER], "two": [WEATHER, CLOCK], "empty": []}


def cases():
    """Name and variables of every case."""
    for name, messages in CONVERSATIONS.items():
        for tools_name, tools in TOOLS.items():
            if tools_name in ("two", "empty") and name not in ("user", "calls", "system"):
                continue
            for prompt in (True, False):
                yield f"{name}-{tools_name}-{prompt}", {"messages": messages, "tools": tools, "documents": None, "add_generation_prompt": prompt,
                                                        "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    extra = {"enable_thinking": False, "custom_tools": [WEATHER], "documents": [{"title": "T", "text": "Some text", "doc_id": 1}], "thinking": True}
    for name in ("user", "system_turns", "calls"):
        yield f"{name}-extra", {"messages": CONVERSATIONS[name], "tools": [WEATHER], "add_generation_prompt": True, "bos_token": "<s>",
                                "eos_token": "</s>", **extra}
        yield f"{name}-bare", {"messages": CONVERSATIONS[name]}
