"""Lines that are no good rows, each with the one code it has to be reported by."""

from __future__ import annotations

import json
from typing import Any

USER = {"role": "user", "content": "Which part?"}
ANSWER = {"role": "assistant", "content": "a bolt"}
FUNCTION = {"name": "find", "arguments": "{}"}
CALL = {"id": "c1", "type": "function", "function": FUNCTION}


def chat(*messages: Any, **extra: Any) -> bytes:
    return json.dumps({"messages": list(messages), **extra}).encode()


TOOLS = [{"type": "function", "function": {"name": "find"}}]


def called(**changes: Any) -> bytes:
    function = {**FUNCTION, **changes}
    return chat(USER, {"role": "assistant", "tool_calls": [{**CALL, "function": function}]}, tools=TOOLS)


LINES: dict[str, tuple[bytes, str]] = {
    # Bytes.
    "a lone continuation byte": (b'{"messages": "\x80"}', "invalid_utf8"),
    "an overlong slash": (b'{"messages": "\xc0\xaf"}', "invalid_utf8"),
    "an overlong NUL": (b'{"messages": "\xc0\x80"}', "invalid_utf8"),
    "a surrogate in UTF-8": (b'{"messages": "\xed\xa0\x80"}', "invalid_utf8"),
    "a code point beyond Unicode": (b'{"messages": "\xf4\x90\x80\x80"}', "invalid_utf8"),
    "a character cut off": (b'{"messages": "\xe2\x82"}', "invalid_utf8"),
    "a byte that UTF-8 never has": (b'{"messages": "\xff"}', "invalid_utf8"),
    "Windows quotation marks": (b'{"messages": "\x93x\x94"}', "invalid_utf8"),
    "a byte order mark inside the file": (b'\xef\xbb\xbf{"messages": []}', "byte_order_mark"),
    "a raw NUL": (b'{"messages": "\0"}', "null_character"),
    "a raw NUL between tokens": (b'{"messages":\0 []}', "null_character"),
    "only a NUL": (b"x\0", "null_character"),
    "an escaped NUL in text": (chat({"role": "user", "content": "\0"}, ANSWER), "null_character"),
    "an escaped NUL in a key": (chat(USER, ANSWER, **{"\0": 1}), "null_character"),
    "an escaped NUL behind backslashes": (chat({"role": "user", "content": "\\\\\0"}, ANSWER), "null_character"),
    "an escaped NUL in a field": (chat(USER, ANSWER, note="\0"), "null_character"),
    "a raw tab in text": (b'{"messages": "\t"}', "invalid_json"),
    "a raw escape character in text": (b'{"messages": "\x1b"}', "invalid_json"),
    # JSON.
    "a word": (b"hello", "invalid_json"),
    "half an object": (b'{"messages": [', "invalid_json"),
    "a text without end": (b'{"messages": "', "invalid_json"),
    "two objects": (b'{"messages": []}{"messages": []}', "invalid_json"),
    "two objects with a comma": (b'{"messages": []},{"messages": []}', "invalid_json"),
    "a trailing comma in an object": (b'{"messages": [],}', "invalid_json"),
    "a trailing comma in a list": (b'{"messages": [1,]}', "invalid_json"),
    "single quotes": (b"{'messages': []}", "invalid_json"),
    "a key without quotes": (b"{messages: []}", "invalid_json"),
    "a comment": (b'{"messages": []} // rows', "invalid_json"),
    "a block comment": (b'{"messages": /* none */ []}', "invalid_json"),
    "Python's None": (b'{"messages": None}', "invalid_json"),
    "Python's True": (b'{"messages": True}', "invalid_json"),
    "NaN": (b'{"messages": NaN}', "invalid_json"),
    "Infinity": (b'{"messages": Infinity}', "invalid_json"),
    "minus Infinity": (b'{"messages": -Infinity}', "invalid_json"),
    "a float beyond the largest": (b'{"messages": 1e999}', "invalid_json"),
    "an integer of 5,000 digits": (b'{"messages": ' + b"9" * 5000 + b"}", "invalid_json"),
    "a leading zero": (b'{"messages": 01}', "invalid_json"),
    "a plus sign": (b'{"messages": +1}', "invalid_json"),
    "a hexadecimal number": (b'{"messages": 0x1}', "invalid_json"),
    "a number without digits": (b'{"messages": .5}', "invalid_json"),
    "half a surrogate pair": (rb'{"messages": "\ud800"}', "invalid_json"),
    "the wrong half first": (rb'{"messages": "\udc00\ud800"}', "invalid_json"),
    "an unknown escape": (rb'{"messages": "\x41"}', "invalid_json"),
    "a short escape": (rb'{"messages": "\u12"}', "invalid_json"),
    "nested 255 deep": (b'{"messages": ' + b"[" * 255 + b"]" * 255 + b"}", "invalid_json"),
    "a field nested so deep that it fits no more": (
        chat(USER, ANSWER)[:-1] + b', "x": ' + b"[" * 253 + b"]" * 253 + b"}",
        "invalid_json",
    ),
    "nested 100,000 deep": (b"[" * 100_000, "invalid_json"),
    "objects nested 100,000 deep": (b'{"a":' * 100_000, "invalid_json"),
    "a vertical tab between tokens": (b'{"messages":\x0b[]}', "invalid_json"),
    "a no-break space between tokens": (b'{"messages":\xc2\xa0[]}', "invalid_json"),
    # Lost by most readers.
    "a key twice": (b'{"messages": [], "messages": []}', "duplicate_key"),
    "a key twice, once escaped": (rb'{"a": 1, "\u0061": 2}', "duplicate_key"),
    "a key twice, deep inside": (b'{"messages": [{"x": [{"y": 1, "y": 1}]}]}', "duplicate_key"),
    "an empty key twice": (b'{"": 1, "": 1}', "duplicate_key"),
    "a role twice in a plain message": (
        b'{"messages": [{"role":"system","role":"user","content":"q"},{"role":"assistant","content":"a"}]}',
        "duplicate_key",
    ),
    "a key twice beside an escaped colon": (rb'{"a": "\u003a", "a": "\u003a"}', "duplicate_key"),
    "an integer of 65 bits": (chat(USER, ANSWER, size=2**64), "number_out_of_range"),
    "a negative integer of 65 bits": (chat(USER, ANSWER, size=-(2**63) - 1), "number_out_of_range"),
    "an integer of 30 digits": (chat(USER, ANSWER, size=10**29), "number_out_of_range"),
    "a large integer inside a tool": (
        chat(USER, ANSWER, tools=[{"type": "function", "function": {"name": "f", "x": 10**25}}]),
        "number_out_of_range",
    ),
    # Structure.
    "null": (b"null", "data_type"),
    "true": (b"true", "data_type"),
    "a number": (b"7", "data_type"),
    "a text": (b'"hello"', "data_type"),
    "a list": (b"[]", "data_type"),
    "an empty object": (b"{}", "missing_messages_list"),
    "messages in capitals": (b'{"Messages": [{"role": "user", "content": "x"}]}', "missing_messages_list"),
    "null messages": (b'{"messages": null}', "missing_messages_list"),
    "messages false": (b'{"messages": false}', "missing_messages_list"),
    "messages as an object": (b'{"messages": {"role": "user"}}', "data_type"),
    "messages as a number": (b'{"messages": 5}', "data_type"),
    "a list of texts": (b'{"messages": ["ro", "co"]}', "data_type"),
    "a list of key lists": (b'{"messages": [["role", "content"]]}', "data_type"),
    "a list with null": (chat(None, ANSWER), "data_type"),
    "an empty message": (chat({}, ANSWER), "message_missing_key"),
    "a role that is null": (chat({"role": None, "content": "x"}, ANSWER), "data_type"),
    "a role that is a list": (chat({"role": ["user"], "content": "x"}, ANSWER), "data_type"),
    "a role with a blank": (chat({"role": "user ", "content": "x"}, ANSWER), "unrecognized_role"),
    "an empty role": (chat({"role": "", "content": "x"}, ANSWER), "unrecognized_role"),
    "content as an object": (chat({"role": "user", "content": {}}, ANSWER), "data_type"),
    "content true": (chat({"role": "user", "content": True}, ANSWER), "data_type"),
    "content in parts": (chat({"role": "user", "content": []}, ANSWER), "content_not_text"),
    "content null": (chat({"role": "user", "content": None}, ANSWER), "missing_content"),
    "a name that is a number": (chat({**USER, "name": 7}, ANSWER), "data_type"),
    "a tool message without id": (chat(USER, {"role": "tool", "content": "1"}, ANSWER), "message_missing_key"),
    "an older result without a call": (
        chat(USER, {"role": "function", "content": "1"}, ANSWER),
        "message_missing_key",
    ),
    "an older call without a name": (
        chat(USER, {"role": "assistant", "function_call": {"x": 1}}),
        "invalid_tool_calls",
    ),
    "a weight of a half": (chat(USER, {**ANSWER, "weight": 0.5}), "invalid_weight"),
    "a weight as text": (chat(USER, {**ANSWER, "weight": "1"}), "invalid_weight"),
    "a weight that is a list": (chat(USER, {**ANSWER, "weight": []}), "invalid_weight"),
    "all weights 0": (chat(USER, {**ANSWER, "weight": 0}), "no_trainable_message"),
    "only a system message": (chat({"role": "system", "content": "x"}), "example_missing_assistant_message"),
    "a tool answer last": (
        chat(
            USER,
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "1"},
            tools=TOOLS,
        ),
        "example_missing_assistant_message",
    ),
    "tool calls as an object": (chat(USER, {"role": "assistant", "tool_calls": CALL}), "invalid_tool_calls"),
    "tool calls of a user": (chat({**USER, "tool_calls": [CALL]}, ANSWER), "invalid_tool_calls"),
    "a tool call that is null": (chat(USER, {"role": "assistant", "tool_calls": [None]}), "invalid_tool_calls"),
    "arguments that are a list": (called(arguments="[]"), "tool_arguments_not_json"),
    "arguments that are no JSON": (called(arguments="{x}"), "tool_arguments_not_json"),
    "arguments with NaN": (called(arguments='{"x": NaN}'), "tool_arguments_not_json"),
    "a call without a name": (called(name=None), "invalid_tool_calls"),
    "tools of nothing known": (chat(USER, ANSWER, tools={"a": 1}), "invalid_tools"),
    "a tool that is a list": (chat(USER, ANSWER, tools=[[]]), "invalid_tools"),
    "a tool of an unknown type": (
        chat(USER, ANSWER, tools=[{"type": "x", "function": {"name": "f"}}]),
        "invalid_tools",
    ),
    # Another format's rows.
    "a prompt/completion row": (b'{"prompt": "a", "completion": "b"}', "mixed_formats"),
    "an Alpaca row": (b'{"instruction": "a", "input": "", "output": "b"}', "mixed_formats"),
    "a ShareGPT row": (b'{"conversations": [{"from": "human", "value": "a"}]}', "mixed_formats"),
    "a preference row": (b'{"input": {}, "preferred_output": [], "non_preferred_output": []}', "mixed_formats"),
    "a reinforcement row": (chat(USER, target=85), "mixed_formats"),
}
