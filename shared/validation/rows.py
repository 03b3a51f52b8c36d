"""One row: what is wrong with it, and its canonical form."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

import orjson

from shared.domain.blank import is_blank
from shared.validation.codes import CODES
from shared.validation.conversions import ANSWER_FIELDS, CONTEXT, PROMPT_FIELDS
from shared.validation.fields import MEDIA, refusals, report_unread
from shared.validation.formats import CHAT, Format
from shared.validation.lines import RefusedLine
from shared.validation.messages import Message, read_messages, read_tools
from shared.validation.names import Refused, shown, wrong_type
from shared.validation.strict import what_was_lost, why_unreadable
from shared.validation.tool_calls import check_conversation

_NOTHING: frozenset[str] = frozenset()
_MAY_BE_READ = frozenset({*PROMPT_FIELDS, *ANSWER_FIELDS}) - {*CONTEXT}
_REJECTED = "non_preferred_output"
_WARNINGS = {name for name, code in CODES.items() if code.severity == "warning"}


@dataclass(slots=True)  # not frozen, which takes three times as long to make
class ParsedRow:
    """A row without errors: its document in canonical form, and what the rest reads of it."""

    document: dict[str, Any]
    item: dict[str, Any]
    messages: list[Message]  # the dialogue; of a preference pair the one that ends with the preferred answer
    more: tuple[Any, ...] = ()  # what else of the row a template or a trainer writes out

    @property
    def canonical(self) -> bytes:
        """One line with its line feed."""
        return orjson.dumps(self.document, option=orjson.OPT_APPEND_NEWLINE)


ReadLine = tuple[ParsedRow | None, Collection[str]]


def read_row(line: bytes | RefusedLine, form: Format = CHAT, used: frozenset[str] = _NOTHING) -> ReadLine:
    """The row of a line, None if it has errors, and the codes of what was found; never text of the row. A code may say
    more after a `|`, for its message. `used`: fields that the recipe reads, which stay in `item`."""
    if isinstance(line, RefusedLine):
        return None, (line.code,)
    if not line.strip():
        return None, ("blank_line",)
    try:
        source = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None, (why_unreadable(line),)
    if type(source) is not dict:
        return None, (wrong_type("the row", source, "an object"),)
    try:
        written = orjson.dumps(source)
    except orjson.JSONEncodeError:  # nested deeper than the encoder goes
        return None, ("invalid_json",)
    if code := what_was_lost(line, written):
        return None, (code,)
    codes: set[str] = set()
    kept = _kept(source, form.mapping, used)
    graded = {name: source.pop(name) for name in _MAY_BE_READ & used & source.keys() - form.mapping.keys()}
    try:
        row = _READERS[form.kind]({**form.convert(source), **graded}, codes)
    except Refused as refused:
        return None, (refused.code,)
    if "missing_content" in codes:  # said with the row's own names, if they are not those of messages
        given = orjson.loads(line)
        empty = [name for name in form.mapping if is_blank(str(given.get(name, 1) or ""))]
        codes ^= {"missing_content", f"missing_content||{' and '.join(empty)}"} if empty else set()
    row.item.update((name, value) for name, value in kept.items() if name not in row.item)
    if not MEDIA.isdisjoint(row.item):
        codes.update(refusals(row.item, row.messages, used))
    if not _WARNINGS.issuperset(code.partition("|")[0] for code in codes):
        return None, codes
    try:
        row.canonical  # noqa: B018  # may nest deeper than the line did
    except orjson.JSONEncodeError:
        return None, ("invalid_json",)
    return row, codes


def _kept(source: dict[str, Any], learned: Iterable[str], used: frozenset[str]) -> dict[str, str]:
    """Texts that are learned and that a grader or a slice reads by their own name. The answer is given to it anyway."""
    names = used.intersection(learned) - {"answer"} if used else ()
    return {name: source[name] for name in names if type(source.get(name)) is str}


def _read_chat(source: dict[str, Any], codes: set[str]) -> ParsedRow:
    document, messages = _dialogue(source, codes)
    last = messages[-1].get("role") if messages else None
    answers = [message for message in messages if message.get("role") == "assistant"]
    if last is not None and last != "assistant":
        codes.add("example_missing_assistant_message")
    elif answers and all(message.get("weight") == 0 for message in answers):
        codes.add("no_trainable_message")
    roles = {message.get("role") for message in messages}
    if answers and roles.isdisjoint(("user", "tool", None)):  # None: one that could not be read
        codes.add("no_user_message" if "system" in roles else "no_question")
    return row_of(document)


def _read_reinforcement(source: dict[str, Any], codes: set[str]) -> ParsedRow:
    document, messages = _dialogue(source, codes)
    _check_question(messages, codes)
    return row_of(document)


def _read_preference(source: dict[str, Any], codes: set[str]) -> ParsedRow:
    question = source.pop("input")
    prompt, messages = _dialogue(question, codes, at="input.messages")
    report_unread((("input", key, value) for key, value in _item(question, codes).items()), messages, codes)
    _check_question(messages, codes)
    outputs = {
        name: _read_output(source.pop(name), codes, name, len(messages)) for name in ("preferred_output", _REJECTED)
    }
    for name, output in outputs.items():
        check_conversation(
            output, prompt.get("tools", ()), codes, at=name, after=messages, is_rejected=name == _REJECTED
        )
    preferred, other = outputs.values()
    if preferred == other and preferred:
        codes.add("equal_outputs")
    return row_of({"input": prompt, **outputs, "item": _item(source, codes)})


def _check_question(messages: list[Message], codes: set[str]) -> None:
    if messages and messages[-1].get("role") not in ("user", "tool"):
        codes.add("prompt_not_last")


_BLANK = ([{"role": "assistant", "content": ""}], [{"role": "assistant", "content": None}])


def _read_output(output: Any, codes: set[str], name: str, first: int) -> list[Message]:
    """The answer of a preference pair: the assistant's messages after the question, tool calls included."""
    if not output or output in _BLANK:
        codes.add("missing_output")
        return []
    messages = read_messages(output, codes, name, first)
    roles = [message.get("role") for message in messages]
    if messages and (roles[-1] != "assistant" or not {"assistant", "tool"}.issuperset(roles)):
        codes.add("invalid_output")
    return messages


def _read_text(source: dict[str, Any], codes: set[str]) -> ParsedRow:
    text = source.pop("text")
    if type(text) is not str:
        codes.add(wrong_type("text", text))
        text = ""
    elif is_blank(text):
        codes.add("missing_content")
    return row_of({"text": text, "item": _item(source, codes)})


_READERS = {
    "chat": _read_chat,
    "preference": _read_preference,
    "reinforcement": _read_reinforcement,
    "text": _read_text,
}


def _dialogue(source: dict[str, Any], codes: set[str], *, at: str = "messages") -> tuple[dict[str, Any], list[Message]]:
    """The canonical document of a row, or of the part of one whose messages are `at`, and its messages."""
    messages = read_messages(source.pop("messages", None), codes, at)
    document: dict[str, Any] = {"messages": messages}
    tools = read_tools(source.pop("tools", None), codes)
    if tools:
        document["tools"] = tools
    check_conversation(messages, tools, codes, at=at)
    if at == "messages":
        document["item"] = _item(source, codes)
    return document, messages


def _item(source: dict[str, Any], codes: set[str]) -> dict[str, Any]:
    """Every field of the row that has no meaning of its own."""
    item = source.pop("item", {})
    if type(item) is not dict:
        return {"item": item, **source}
    twice = sorted(shown(name) for name in item.keys() & source if item[name] != source[name])
    if twice:
        codes.add(f"field_twice|the field {twice[0]} (in item and beside it)")
    return {**item, **source}  # a canonical row read again


def row_of(document: dict[str, Any]) -> ParsedRow:
    """A canonical document with what the rest reads of it."""
    item = document["item"]
    if "text" in document:
        return ParsedRow(document, item, [{"role": "assistant", "content": document["text"]}])
    dialogue = document.get("input", document)
    messages, more = dialogue["messages"], (dialogue["tools"],) if "tools" in dialogue else ()
    if "input" in document:
        messages, more = messages + document["preferred_output"], (document["non_preferred_output"], *more)
    return ParsedRow(document, item, messages, more)


class Extent(NamedTuple):
    """Of all text that a chat template writes out. `extra_bytes`: by which UTF-8 is longer than its characters. Tool
    calls and tools count as their JSON, and as no extra bytes."""

    messages: int
    characters: int
    extra_bytes: int


def extent_of(row: ParsedRow) -> Extent:
    text = "".join(map(itemgetter("content"), row.messages))
    extra_bytes = 0 if text.isascii() else len(text.encode()) - len(text)
    written = [message["tool_calls"] for message in row.messages if "tool_calls" in message]
    characters = len(text) + sum(len(orjson.dumps(part)) for part in (*written, *row.more))
    return Extent(len(row.messages), characters, extra_bytes)
