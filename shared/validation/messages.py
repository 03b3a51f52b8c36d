"""The messages of a row: what is wrong with them, and their canonical form."""

from __future__ import annotations

from typing import Any

import orjson

from shared.domain.blank import is_blank

Message = dict[str, Any]

# What a reader gets for a role; developer is OpenAI's newer name for system.
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_PLAIN_ROLES = ("user", "assistant", "system")
_KEYS = frozenset({"role", "content", "name", "tool_calls", "tool_call_id", "weight", "function_call"})


def colons_of_plain(messages: Any) -> int | None:
    """Colons in the texts of a list of {role, content} with text, as by far the most are; None for any other value.

    In such a list there is nothing to change or to check, but for who speaks last.
    """
    if type(messages) is not list or not messages:
        return None
    colons = 0
    try:
        for message in messages:
            first, second = message  # its keys, if it is an object
            if first != "role" or second != "content" or message["role"] not in _PLAIN_ROLES:
                return None
            content = message["content"]
            if type(content) is not str or "\0" in content or is_blank(content):
                return None
            if ":" in content:  # most have none, and finding that out is faster than counting
                colons += content.count(":")
    except (TypeError, ValueError):
        return None
    return colons


def read_messages(messages: Any, codes: set[str]) -> list[Message]:
    """The messages in canonical form, empty if there are none; what is wrong goes to `codes`."""
    if not messages:
        codes.add("missing_messages_list")
        return []
    if type(messages) is not list:
        codes.add("data_type")
        return []
    if colons_of_plain(messages) is not None:
        return messages
    return [_read_message(message, codes) for message in messages]


def read_tools(tools: Any, codes: set[str]) -> list[Any]:
    """The tools, empty if there are none."""
    if tools is None or tools == []:
        return []
    if type(tools) is list and all(_is_tool(tool) for tool in tools):
        return tools
    codes.add("invalid_tools")
    return []


def _read_message(message: Any, codes: set[str]) -> Message:
    if type(message) is not dict:
        codes.add("data_type")
        return {}
    role = message.get("role")
    known = _ROLES.get(role) if type(role) is str else None
    if known is None:
        codes.add(_role_problem(message, role))
        return {}
    clean: Message = {"role": known, "content": _read_content(message, known, codes)}
    _read_extras(message, known, clean, codes)
    return clean


def _role_problem(message: Message, role: Any) -> str:
    if "role" not in message:
        return "message_missing_key"
    if type(role) is not str:
        return "data_type"
    return "legacy_function_call" if role == "function" else "unrecognized_role"


def _read_content(message: Message, role: str, codes: set[str]) -> str:
    content = message.get("content")
    if type(content) is str:
        if role != "tool" and not message.get("tool_calls") and is_blank(content):
            codes.add("missing_content")  # a tool may answer with nothing
        return content
    if content is None:
        if role != "assistant" or not message.get("tool_calls"):
            codes.add("legacy_function_call" if "function_call" in message else "missing_content")
    else:
        codes.add("content_not_text" if type(content) is list else "data_type")
    return ""


def _read_extras(message: Message, role: str, clean: Message, codes: set[str]) -> None:
    if message.get("function_call") is not None:
        codes.add("legacy_function_call")
    if not _KEYS.issuperset(message):
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


def _read_tool_calls(message: Message, role: str, clean: Message, codes: set[str]) -> None:
    calls = message.get("tool_calls")
    if calls is None or calls == []:
        return
    if role == "assistant" and type(calls) is list and all(_is_tool_call(call) for call in calls):
        clean["tool_calls"] = calls
    else:
        codes.add("invalid_tool_calls")


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


def _read_weight(message: Message, role: str, clean: Message, codes: set[str]) -> None:
    """Only weight 0 is kept: 1 is what a message has anyway."""
    weight = message.get("weight")
    if weight is None:
        return
    if role != "assistant":
        codes.add("message_unrecognized_key")
    elif type(weight) not in (int, float) or weight not in (0, 1):
        codes.add("invalid_weight")
    elif weight == 0:
        clean["weight"] = 0


def _is_tool(tool: Any) -> bool:
    if type(tool) is not dict or tool.get("type") != "function":
        return False
    function = tool.get("function")
    return type(function) is dict and type(function.get("name")) is str
