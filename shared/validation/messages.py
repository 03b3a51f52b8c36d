"""The messages of a row: what is wrong with them, and their canonical form."""

import re
from collections.abc import Iterable
from typing import Any

import orjson

from shared.domain.blank import is_blank
from shared.validation.fields import Unread, is_reasoning, report_unread
from shared.validation.marks import plain_name
from shared.validation.names import EMPTY, shown, wrong_type
from shared.validation.tool_calls import read_tool_calls, report, with_ids, without_functions

Message = dict[str, Any]

# What a reader gets for a role; developer is OpenAI's newer name for system.
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_PLAIN_ROLES = ("user", "assistant", "system")
_KEYS = frozenset({"role", "content", "name", "tool_calls"})
_TOOL_KEYS = _KEYS | {"tool_call_id"}
# Whether an answer is learned: OpenAI, axolotl, LLaMA-Factory, ms-swift and verl have a name each.
_WEIGHTS = ("weight", "train", "training", "trainable", "loss", "loss_weight", "loss_scale", "loss_mask")
# What other names that say whether a message is learned have in them.
_LEARNING = re.compile(r"(?:^|_)(?:loss|mask(?:ed)?|train(?:ed|able|ing)?|learn(?:ed|able)?)(?:_|$)")
# Weights of parts of an answer (axolotl).
_DETAILS = frozenset({"train_detail", "training_detail"})
_PART_KEYS = frozenset({"type", "text", "value"})
_WEIGHT_OF_OTHER_ROLE = "ignored_field|weight of a message that is not the assistant's"

_TEXT_PARTS = ("text", "input_text", "output_text")


def are_plain(messages: Any) -> bool:
    """Whether these are {role, content} with text that is seen: then only who speaks last is to be checked."""
    if type(messages) is not list or not messages:
        return False
    try:
        for message in messages:
            first, second = message  # its keys, if it is an object
            if first != "role" or second != "content" or message["role"] not in _PLAIN_ROLES:
                return False
            content = message["content"]
            # A text that begins with a letter of ASCII is spared the call. No other type compares with text.
            if (not "!" <= content < "\x7f" and is_blank(content)) or "\0" in content:
                return False
    except (TypeError, ValueError):
        return False
    return True


def read_messages(messages: Any, codes: set[str], at: str = "messages", first: int = 0) -> list[Message]:
    """The messages in canonical form; what is wrong goes to `codes`. `first`: number in its dialogue."""
    if type(messages) is list and are_plain(messages):
        return messages
    if messages and type(messages) is not list:
        codes.add(wrong_type("messages", messages, "a list of messages"))
        return []
    messages = [message for message in messages or () if not _instructs_nothing(message)]
    messages = with_ids(without_functions(messages, codes, at), first)
    unread: list[Unread] = []
    read = [_read_message(message, codes, unread, f"{at}[{index}]") for index, message in enumerate(messages)]
    if unread:
        report_unread(unread, read, codes)
    if not read:
        codes.add("missing_messages_list")
    return read


def _instructs_nothing(message: Any) -> bool:
    """Whether it is a system message without text, which exports write where there was none."""
    return (
        type(message) is dict
        and message.get("role") in ("system", "developer")
        and all(
            key == "role" or value in EMPTY or (type(value) is str and is_blank(value))
            for key, value in message.items()
        )
    )


def read_tools(tools: Any, codes: set[str]) -> list[Any]:
    """The tools, empty if there are none."""
    if tools is None or tools == []:
        return []
    if type(tools) is list and all(_is_tool(tool) for tool in tools):
        _check_names(tools, codes)
        return tools
    codes.add("invalid_tools")
    return []


def _check_names(tools: list[Any], codes: set[str]) -> None:
    known: dict[str, Any] = {}
    for index, tool in enumerate(tools):
        name = tool["function"]["name"]
        if name in known:
            code = "tool_defined_again" if known[name] == tool else "tool_defined_twice"
            report(codes, code, f"tools[{index}].function.name")
        known[name] = tool


def _read_message(message: Any, codes: set[str], unread: list[Unread], place: str) -> Message:
    if type(message) is not dict:
        codes.add(wrong_type("a message", message, "an object"))
        return {}
    role = message.get("role")
    known = _ROLES.get(role) if type(role) is str else None
    if known is None:
        wrong = wrong_type("role", role) if "role" in message else "message_missing_key"
        codes.add("unrecognized_role" if type(role) is str else wrong)
        return {}
    clean: Message = {"role": known, "content": _read_content(message, known, codes, unread, place)}
    _read_extras(message, known, clean, codes)
    keys = _TOOL_KEYS if known == "tool" else _KEYS
    if not keys.issuperset(message):
        _read_other_keys(message, message.keys() - keys, codes, unread, place)
    calls = read_tool_calls(message, known, codes, unread, place)
    if calls:
        clean["tool_calls"] = calls
    return clean


def _read_content(message: Message, role: str, codes: set[str], unread: list[Unread], place: str) -> str:
    content = message.get("content")
    if type(content) is str:
        if role != "tool" and not message.get("tool_calls") and is_blank(content):
            codes.add("missing_content")  # a tool may answer with nothing
        return content
    if content is None:
        if role != "assistant" or not message.get("tool_calls"):
            codes.add("refusal_not_read" if message.get("refusal") else "missing_content")
    elif role == "tool" and not _is_of_parts(content):
        return orjson.dumps(content).decode()
    elif type(content) is list:
        return _joined(content, codes, unread, f"{place}.content[]")
    else:
        codes.add(wrong_type("content", content))
    return ""


def _is_of_parts(content: Any) -> bool:
    """Whether it is a list of texts and parts such as {type: text}; what else a tool answers is data."""
    if type(content) is not list or not content:
        return False
    return all(
        type(part) is str or (type(part) is dict and ("type" in part or part.keys() == {"text"})) for part in content
    )


def _joined(parts: list[Any], codes: set[str], unread: list[Unread], place: str) -> str:
    """The text of parts that are all text, a line each, as vLLM joins them for templates that take one text."""
    texts = [_text_of(part) for part in parts]
    if texts and all(type(text) is str for text in texts):
        for part in parts:
            if type(part) is dict and not part.keys() <= {"type", "text"}:
                unread += ((place, key, part[key]) for key in part.keys() - _PART_KEYS)
                if part.get("value", part.get("text")) not in (*EMPTY, part.get("text", part.get("value"))):
                    codes.add("field_twice|the text of a part of content (text and value)")
        text = "\n".join(texts)
        if is_blank(text):
            codes.add("missing_content")
        return text
    thoughts = any(type(part) is dict and any(map(is_reasoning, {*part, str(part.get("type"))})) for part in parts)
    refusals = any(type(part) is dict and part.get("type") == "refusal" for part in parts)
    codes.add("reasoning_not_read|a thought" if thoughts else "refusal_not_read" if refusals else "content_not_text")
    return ""


def _text_of(part: Any) -> Any:
    """OpenAI's parts have `text`, those of LLaMA-Factory `value`, and those of Bedrock no type."""
    if type(part) is not dict:
        return part
    is_text = part.get("type") in _TEXT_PARTS or part.keys() == {"text"}
    return part.get("text", part.get("value")) if is_text else None


def _read_extras(message: Message, role: str, clean: Message, codes: set[str]) -> None:
    for key in ("name", "tool_call_id") if role == "tool" else ("name",):
        value = message.get(key)
        if type(value) is str:
            clean[key] = value
        elif value is not None:
            codes.add(wrong_type(key, value))
    if role == "tool" and "tool_call_id" not in clean:
        codes.add("message_missing_key")
    _read_weight(message, role, clean, codes)


def _read_other_keys(message: Message, keys: Iterable[str], codes: set[str], unread: list[Unread], place: str) -> None:
    has_content = message.get("content") is not None or message.get("tool_calls")
    for key in keys:
        if key in _WEIGHTS or message[key] in EMPTY or (key == "refusal" and not has_content):
            continue
        if key in _DETAILS:
            codes.add("invalid_weight")
        elif _LEARNING.search(plain_name(key)):
            codes.add(f"weight_not_read|{shown(key)}")
        else:
            unread.append((place, key, message[key]))


def _read_weight(message: Message, role: str, clean: Message, codes: set[str]) -> None:
    """Only weight 0 is kept: 1 is what an answer has anyway, and 0 what every other message has."""
    given = {key: message[key] for key in _WEIGHTS if message.get(key) is not None}
    # 0 or 1, or as true or false where the name is not a number's.
    known = [one for key, one in given.items() if one in (0, 1) and (key != "weight" or type(one) is not bool)]
    weights = set(known)
    if len(known) < len(given):
        codes.add("invalid_weight")
    if role == "assistant" and weights == {0}:
        clean["weight"] = 0
    elif role == "assistant" and len(weights) > 1:
        codes.add("invalid_weight")
    elif role != "assistant" and 1 in weights:
        codes.add(_WEIGHT_OF_OTHER_ROLE if "weight" in message else "weight_of_other_role")


def _is_tool(tool: Any) -> bool:
    if type(tool) is not dict or tool.get("type") != "function":
        return False
    function = tool.get("function")
    return type(function) is dict and type(function.get("name")) is str
