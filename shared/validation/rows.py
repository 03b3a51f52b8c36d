"""One row: what is wrong with it, and its canonical form."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

# What a reader gets for a role; developer is OpenAI's newer name for system.
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_MESSAGE_KEYS = frozenset({"role", "content", "name", "tool_calls", "tool_call_id", "weight", "function_call"})
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
# Ways to write a key's end, or text like it, that the counts in `_has_duplicate_key` would miss.
_UNUSUAL = re.compile(rb'\\u00(?:22|3[aA])|"[ \t\r]+:')


@dataclass(frozen=True, slots=True)
class Row:
    """A row without errors. `canonical` is one line with its line feed."""

    canonical: bytes
    item: dict[str, Any]
    question_key: bytes  # 16 bytes: the user's messages and the last answer
    messages: int
    characters: int

    @property
    def row_key(self) -> bytes:
        """16 bytes that are equal for equal rows."""
        return blake2b(self.canonical, digest_size=16).digest()


def read_row(line: bytes) -> tuple[Row | None, set[str]]:
    """The row, None if it has errors, and the codes of what was found; never text of the row."""
    codes: set[str] = set()
    try:
        source = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None, {_why_unreadable(line)}
    if type(source) is not dict:
        return None, {"data_type"}
    code = _why_refused(line, source)
    if code:
        return None, {code}
    if "preferred_output" in source or "non_preferred_output" in source:
        return None, {"format_not_supported"}
    messages = source.get("messages")
    if not messages:
        return None, {"missing_messages_list"}
    if type(messages) is not list:
        return None, {"data_type"}
    clean = [_read_message(message, codes) for message in messages]
    document = _document(source, clean, codes)
    _check_dialogue(clean, document["item"], codes)
    if codes - {"message_unrecognized_key"}:
        return None, codes
    return _row(document), codes


def _why_unreadable(line: bytes) -> str:
    try:
        line.decode()
    except UnicodeDecodeError:
        return "invalid_utf8"
    return "nul_character" if b"\0" in line else "invalid_json"


def _read_message(message: Any, codes: set[str]) -> dict[str, Any]:
    """The message in canonical form; what is wrong goes to `codes`."""
    if type(message) is not dict:
        codes.add("data_type")
        return {}
    role, content = message.get("role"), message.get("content")
    known = _ROLES.get(role) if type(role) is str else None
    if known is None:
        codes.add(_role_problem(message, role))
        return {}
    plain = len(message) == 2 and type(content) is str and content and known == role
    if plain and role != "tool" and next(iter(message)) == "role":
        return message  # by far the most: nothing to change, nothing to check
    clean: dict[str, Any] = {"role": known, "content": _read_content(message, known, codes)}
    _read_extras(message, known, clean, codes)
    return clean


def _role_problem(message: dict[str, Any], role: Any) -> str:
    if "role" not in message:
        return "message_missing_key"
    if type(role) is not str:
        return "data_type"
    return "legacy_function_call" if role == "function" else "unrecognized_role"


def _read_content(message: dict[str, Any], role: str, codes: set[str]) -> str:
    content = message.get("content")
    if type(content) is str:
        if not content and role != "tool" and not message.get("tool_calls"):
            codes.add("missing_content")  # a tool may answer with nothing
        return content
    if content is None:
        if role != "assistant" or not message.get("tool_calls"):
            codes.add("legacy_function_call" if "function_call" in message else "missing_content")
    else:
        codes.add("content_not_text" if type(content) is list else "data_type")
    return ""


def _read_extras(message: dict[str, Any], role: str, clean: dict[str, Any], codes: set[str]) -> None:
    if message.get("function_call") is not None:
        codes.add("legacy_function_call")
    if not _MESSAGE_KEYS.issuperset(message):
        codes.add("message_unrecognized_key")
    for key in ("name", "tool_call_id"):
        value = message.get(key)
        if type(value) is str:
            clean[key] = value
        elif value is not None:
            codes.add("data_type")
    if role == "tool" and "tool_call_id" not in clean:
        codes.add("message_missing_key")
    _read_tool_calls(message, role, clean, codes)
    _read_weight(message, role, clean, codes)


def _read_tool_calls(message: dict[str, Any], role: str, clean: dict[str, Any], codes: set[str]) -> None:
    calls = message.get("tool_calls")
    if calls is None or calls == []:
        return
    if role == "assistant" and type(calls) is list and all(_is_tool_call(call) for call in calls):
        clean["tool_calls"] = calls
    else:
        codes.add("bad_tool_calls")


def _is_tool_call(call: Any) -> bool:
    if type(call) is not dict or call.get("type", "function") != "function":
        return False
    function = call.get("function")
    if type(function) is not dict or type(function.get("name")) is not str:
        return False
    try:
        return type(orjson.loads(function["arguments"])) is dict
    except (KeyError, TypeError, orjson.JSONDecodeError):
        return False


def _read_weight(message: dict[str, Any], role: str, clean: dict[str, Any], codes: set[str]) -> None:
    """Only weight 0 is kept: 1 is what a message has anyway."""
    weight = message.get("weight")
    if weight is None:
        return
    if role != "assistant":
        codes.add("message_unrecognized_key")
    elif type(weight) not in (int, float) or weight not in (0, 1):
        codes.add("bad_weight")
    elif weight == 0:
        clean["weight"] = 0


def _document(source: dict[str, Any], messages: list[dict[str, Any]], codes: set[str]) -> dict[str, Any]:
    document: dict[str, Any] = {"messages": messages}
    tools = source.pop("tools", None)
    if tools is not None and tools != []:
        document["tools"] = tools
        if type(tools) is not list or not all(_is_tool(tool) for tool in tools):
            codes.add("bad_tools")
    del source["messages"]
    item = source.pop("item", {})
    if type(item) is dict:  # a canonical row read again
        document["item"] = {**item, **source}
    else:
        document["item"] = {"item": item, **source}
    return document


def _is_tool(tool: Any) -> bool:
    if type(tool) is not dict or tool.get("type") != "function":
        return False
    function = tool.get("function")
    return type(function) is dict and type(function.get("name")) is str


def _check_dialogue(messages: list[dict[str, Any]], item: dict[str, Any], codes: set[str]) -> None:
    answers = [message for message in messages if message.get("role") == "assistant"]
    last = messages[-1].get("role")
    if not answers and last == "user" and item:
        codes.clear()  # a prompt with reference fields: nothing is wrong with it but its purpose
        codes.add("format_not_supported")
    elif last != "assistant" and last is not None:
        codes.add("example_missing_assistant_message")
    elif answers and all(message.get("weight") == 0 for message in answers):
        codes.add("no_trainable_message")


def _why_refused(line: bytes, source: dict[str, Any]) -> str | None:
    """What the parser lets pass and we do not."""
    try:
        written = orjson.dumps(source)
    except orjson.JSONEncodeError:  # nested deeper than the encoder goes
        return "invalid_json"
    if b"\\u0000" in written and _NUL.search(written):
        return "nul_character"
    return "duplicate_key" if _has_duplicate_key(line, written) else None


def _row(document: dict[str, Any]) -> Row:
    messages = document["messages"]
    return Row(
        canonical=orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE),
        item=document["item"],
        question_key=_question_key(messages),
        messages=len(messages),
        characters=_characters(document),
    )


def _has_duplicate_key(line: bytes, written: bytes) -> bool:
    """Whether an object of the line names a key twice; the parser keeps the last one silently.

    `":` ends every key, and occurs as often inside a string of the line as in the same string written again.
    So where the counts agree no key was lost, and the slow strict parse is spared.
    """
    hints = b" :" in line or b"\\u00" in line or b"\t:" in line or b"\r:" in line
    if not (hints and _UNUSUAL.search(line)) and line.count(b'":') == written.count(b'":'):
        return False
    try:
        json.loads(line, object_pairs_hook=_refuse_duplicates)
    except _DuplicateKeyError:
        return True
    return False


class _DuplicateKeyError(Exception):
    pass


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _DuplicateKeyError
    return found


def _question_key(messages: list[dict[str, Any]]) -> bytes:
    parts = [message["content"].strip() for message in messages if message["role"] == "user"]
    answer = messages[-1]
    parts.append(answer["content"].strip())
    text = "\0".join(parts).encode()
    if "tool_calls" in answer:
        text += orjson.dumps([call["function"] for call in answer["tool_calls"]])
    return blake2b(text, digest_size=16).digest()


def _characters(document: dict[str, Any]) -> int:
    """Characters of all text a chat template writes out; tools count as their JSON."""
    total = sum(len(message["content"]) for message in document["messages"])
    for message in document["messages"]:
        if "tool_calls" in message:
            total += len(orjson.dumps(message["tool_calls"]))
    if "tools" in document:
        total += len(orjson.dumps(document["tools"]))
    return total
