"""A row compared with its rendered text: what the chat template leaves out. See docs/explanation/tokens.md. A template
decides by a row's structure, hardly by its words: each structure is rendered once with markers in place of texts, names
and arguments. What is done to words themselves, a search for each message in its row's text finds."""

import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from shared.domain.blank import is_blank
from shared.domain.prompts import Row, prompt_of
from shared.rendering.bundle import SAMPLE, Bundle
from shared.rendering.rows import render_answers, render_prompt
from shared.rendering.template import Span

_OF_ROLE = {"user": "user", "system": "system", "tool": "tool_result"}
_REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
_THOUGHT_END = "</think>"
_WORDS = re.compile(r"[^\W_]+")
STRUCTURES_KEPT = 1000  # of long dialogues each takes some KB


class Comparison:
    """What is found in the rows of a dataset; each structure is compared once."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._known: dict[tuple[Any, ...], frozenset[str]] = {}

    def dialogue(self, row: Row, text: str, *, is_prompt: bool) -> frozenset[str]:
        """Codes of what a template does to a dialogue: keys of `TOKEN_CODES` that begin with `template_`."""
        structure = _structure(row, is_prompt)
        found = self._known.get(structure)
        if found is None:
            if len(self._known) >= STRUCTURES_KEPT:
                self._known.clear()
            found = frozenset(self._codes_of(row, is_prompt))
            if "template_leaves_out_tools" in found:  # and their schemas with them
                found -= {"template_leaves_out_tool_schemas"}
            self._known[structure] = found
        lost = [message for message in row["messages"] if message["content"].strip() not in text]
        lost = [message for message in lost if f"template_leaves_out_{_part(message)}" not in found]
        return found.union(_lost_words(lost, text)) if lost else found

    def _codes_of(self, row: Row, is_prompt: bool) -> Iterator[str]:
        marks = _Marked()
        marked = marks.row(row)
        try:
            text, spans = _rendered(self._bundle, marked, is_prompt)
        except Exception:  # the template takes the row itself and not its like, so there is nothing to compare
            return
        lowered = text.lower()
        for marker, (part, message) in marks.parts.items():
            if part == "reasoning" and message not in spans:  # before an answer of which it is another text's to learn
                continue
            start, end = spans.get(message, (0, len(text)))
            if lowered.find(marker, start, end) < 0:
                yield f"template_leaves_out_{part}"
        if any(not text[start:end].rstrip().endswith(self._bundle.end_tokens) for start, end in spans.values()):
            yield "template_without_end_token"
        if not self._asks_as_it_writes:
            yield "template_prompt_differs"
        opening = self._bundle.answer_opening.strip()
        opened = [index for index, (start, _) in spans.items() if opening and text[:start].rstrip().endswith(opening)]
        if any(not marked["messages"][index]["content"].startswith(opening) for index in opened):
            yield "template_answer_opening_differs"

    @cached_property
    def _asks_as_it_writes(self) -> bool:
        """Whether a template on which being asked has no effect opens answers all the same, and only such as follow."""
        dialogue = self._bundle.dialogue
        prompt, answered = dialogue("user", ask=True).rstrip(), dialogue("user", "assistant").rstrip()
        if len(prompt) > len(dialogue("user").rstrip()) or not answered.startswith(prompt):
            return True
        opening = answered.removeprefix(prompt).partition(SAMPLE)[0]
        return not opening.strip() and dialogue("user", "assistant", "user").startswith(answered)


def _part(message: Row) -> str:
    """What the content of a message is."""
    return _OF_ROLE.get(message["role"]) or ("text_beside_call" if message.get("tool_calls") else "answer")


def _structure(row: Row, is_prompt: bool) -> tuple[Any, ...]:
    ids: dict[str, int] = {}
    tools = tuple(_parts_of_tool(tool) for tool in row.get("tools") or ())
    return (is_prompt, tools, *(_structure_of(message, ids) for message in row["messages"]))


def _parts_of_tool(tool: Row) -> tuple[bool, bool, bool]:
    """Whether it has a description, parameters, and descriptions of these."""
    function, parameters = tool["function"], tool["function"].get("parameters")
    properties = parameters.get("properties") if isinstance(parameters, dict) else None
    each = list(properties.values()) if isinstance(properties, dict) else []
    described = any(isinstance(one, dict) and one.get("description") for one in each)
    return bool(function.get("description")), bool(each), described


def _structure_of(message: Row, ids: dict[str, int]) -> Any:
    """A message's role alone if it has nothing but text, as by far the most have."""
    role, content = message["role"], message["content"]
    if len(message) == 2 and content and not content.isspace():
        return role if role != "assistant" or _THOUGHT_END not in content else (role, True)
    keys = tuple((key, _value_structure(key, value, ids)) for key, value in message.items() if key != "content")
    return (*keys, is_blank(content), _THOUGHT_END in content)


def _value_structure(key: str, value: Any, ids: dict[str, int]) -> Any:
    if key == "tool_calls":
        return tuple(_call_structure(call, ids) for call in value)
    if key == "tool_call_id":
        return ids.get(value, -1)
    return value if key in ("role", "weight") else bool(value)


def _call_structure(call: Row, ids: dict[str, int]) -> Any:
    identifier = call.get("id")
    if isinstance(identifier, str):
        ids.setdefault(identifier, len(ids))
    return ids.get(str(identifier)), tuple(type(value) for value in _arguments(call).values())


def _arguments(call: Row) -> dict[str, Any]:
    arguments = call["function"].get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return {}
    return arguments if isinstance(arguments, dict) else {}


@dataclass
class _Marked:
    """A row of one structure with markers for words. `parts`: marker -> its part and the index of its message."""

    parts: dict[str, tuple[str, int]] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    def marker(self, part: str, message: int) -> str:
        # Lower-case letters and digits: nothing that a template escapes or trims, and no word of any template.
        marker = f"zq{len(self.parts):04d}qz"
        self.parts[marker] = (part, message)
        return marker

    def row(self, row: Row) -> Row:
        messages = [self._message(message, index) for index, message in enumerate(row["messages"])]
        return {
            "messages": messages,
            "tools": [self._tool(_parts_of_tool(tool)) for tool in row.get("tools") or ()] or None,
        }

    def _message(self, message: Row, index: int) -> Row:
        marked = {**message, "content": self._content(message, index)}
        if message.get("name"):
            # A tool's name is that of the call before, which is looked for there.
            marked["name"] = "stock" if message["role"] == "tool" else self.marker("name", -1)
        for key in _REASONING_KEYS:
            if message.get(key):
                marked[key] = self.marker("reasoning", index)
        if "tool_calls" in message:
            marked["tool_calls"] = [self._call(call, index) for call in message["tool_calls"]]
        if message.get("tool_call_id") is not None:
            marked["tool_call_id"] = self._id(message["tool_call_id"])
        return marked

    def _content(self, message: Row, index: int) -> str:
        content = message["content"]
        if is_blank(content):
            return str(content)
        part = _part(message)
        if message["role"] == "assistant" and _THOUGHT_END in content:
            thought = f"<think>\n{self.marker('reasoning', index)}\n{_THOUGHT_END}"
            only_thought = is_blank(content.rpartition(_THOUGHT_END)[2])
            return thought if only_thought else f"{thought}\n\n{self.marker(part, index)}"
        return self.marker(part, index)

    def _call(self, call: Row, index: int) -> Row:
        arguments = {self.marker("tool_calls", index): self._value(value, index) for value in _arguments(call).values()}
        marked = {**call, "function": {"name": self.marker("tool_calls", index), "arguments": arguments}}
        return {**marked, "id": self._id(call["id"])} if call.get("id") is not None else marked

    def _value(self, value: Any, index: int) -> Any:
        if isinstance(value, str):
            return self.marker("tool_calls", index)
        if isinstance(value, dict):
            return {self.marker("tool_calls", index): self.marker("tool_calls", index)}
        return [self.marker("tool_calls", index)] if isinstance(value, list) else value

    def _id(self, identifier: str) -> str:
        # Nine letters and digits, which is what Mistral's templates take.
        return self.ids.setdefault(identifier, f"call{len(self.ids):05d}")

    def _tool(self, parts: tuple[bool, bool, bool]) -> Row:
        """With a word for each part that the row's tool has not."""
        schema = [self.marker("tool_schemas", -1) if has else "word" for has in parts]
        parameter = {"type": "string", "description": schema[2]}
        function = {
            "name": self.marker("tools", -1),
            "description": schema[0],
            "parameters": {"type": "object", "properties": {schema[1]: parameter}, "required": [schema[1]]},
        }
        return {"type": "function", "function": function}


def _rendered(bundle: Bundle, marked: Row, is_prompt: bool) -> tuple[str, dict[int, Span]]:
    if is_prompt:
        return render_prompt(bundle, prompt_of(marked)).text, {}
    ((text, spans),) = render_answers(bundle, marked)
    return text, spans


def _lost_words(messages: list[Row], text: str) -> Iterator[str]:
    whole = _Text(text)
    for message in messages:
        if not whole.holds(message["content"]):
            _, end, text_after = message["content"].rpartition(_THOUGHT_END)
            only_thought = message["role"] == "assistant" and end and whole.holds(text_after)
            if only_thought and not message.get("weight", 1):
                continue
            yield f"template_leaves_out_{'reasoning' if only_thought else _part(message)}"


class _Text:
    """A rendered text, in which words are found however they were escaped, indented or spelled in case."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def words(self) -> str:
        return _words(self.text)

    def holds(self, content: str) -> bool:
        stripped = content.strip()
        plain = (stripped, json.dumps(stripped, ensure_ascii=False)[1:-1], json.dumps(stripped)[1:-1])
        if any(form in self.text for form in plain):
            return True
        forms = (*plain, repr(stripped)[1:-1])
        return any(words in self.words for form in forms if len(words := _words(form)) > 2)


def _words(text: str) -> str:
    return f" {' '.join(_WORDS.findall(html.unescape(text).casefold()))} "
