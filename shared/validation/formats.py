"""The shapes tuning data comes in: recognized by their keys, and converted to one.

Sources of the shapes: OpenAI's chat, preference and reinforcement rows, Stanford Alpaca, ShareGPT as LLaMA-Factory
describes it (`data/README.md`), and the prompt/completion and prompt/chosen/rejected rows of TRL.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orjson

Source = dict[str, Any]


class Format(NamedTuple):
    """`convert` gives the row in the shape of its kind, or the code of why it cannot; it may change its argument."""

    name: str
    kind: str  # the canonical form: chat, preference, reinforcement or text
    mapping: dict[str, str]  # field of the file -> what it becomes
    convert: Callable[[Source], Source | str]


def detect(sources: Sequence[Source]) -> Format | None:
    """The shape most of the rows have, the first of equals, with the mapping of the fields they hold."""
    shapes = [shape for source in sources if (shape := shape_of(source))]
    if not shapes:
        return None
    most = Counter(_shape_key(shape) for shape in shapes).most_common(1)[0][0]
    form = next(shape for shape in shapes if _shape_key(shape) == most)
    return _of_fields(form, sources)


def chosen(name: str, sources: Sequence[Source]) -> Format:
    """The format a recipe names; which pair of fields a prompt/completion file has is still looked up."""
    matching = [shape for source in sources if (shape := shape_of(source)) and shape.name == name]
    return _of_fields(matching[0] if matching else FORMATS[name], sources)


def _shape_key(form: Format) -> tuple[str, ...]:
    return (form.name, *form.mapping)


def _of_fields(form: Format, sources: Sequence[Source]) -> Format:
    present = {name for source in sources for name in source}
    return form._replace(mapping={name: part for name, part in form.mapping.items() if name in present})


def shape_of(source: Source) -> Format | None:
    """The format a row looks like by its keys."""
    if "preferred_output" in source or "non_preferred_output" in source:
        return PREFERENCE
    if "chosen" in source and "rejected" in source:
        return CHOSEN_REJECTED
    if "messages" in source:
        return REINFORCEMENT if _asks_only(source) else CHAT
    if "conversations" in source:
        return SHAREGPT
    if "instruction" in source and "output" in source:
        return ALPACA
    for form in PAIRS:
        if form.mapping.keys() - {"system"} <= source.keys():
            return form
    return TEXT if "text" in source else None


def _asks_only(source: Source) -> bool:
    """A question without an answer and with fields for a grader."""
    messages = source["messages"]
    if type(messages) is not list or not all(type(message) is dict for message in messages):
        return False
    roles = [message.get("role") for message in messages]
    fields = source.keys() - {"messages", "tools", "item"} or source.get("item")
    return bool(fields) and roles[-1:] == ["user"] and "assistant" not in roles


def _needs(form_name: str, *names: str) -> Callable[[Source], str | None]:
    """Why a row without one of the fields is refused."""

    def why(source: Source) -> str | None:
        if all(name in source for name in names):
            return None
        shape = shape_of(source)
        return "mixed_formats" if shape is not None and shape.name != form_name else "missing_field"

    return why


def _chat(source: Source) -> Source | str:
    messages = source.get("messages")
    if type(messages) is list and messages and type(messages[-1]) is dict and messages[-1].get("role") == "assistant":
        return source
    shape = shape_of(source)
    return "mixed_formats" if shape is not None and shape.name != "chat" else source


def _turns(role: str, value: Any) -> list[Any]:
    """A list is a dialogue already."""
    return value if type(value) is list else [{"role": role, "content": value}]


def _with_system(source: Source, messages: list[Any]) -> Source:
    system = source.pop("system", None)
    start = [] if system in (None, "") else [{"role": "system", "content": system}]
    return {**source, "messages": start + messages}


def _pair(asked: str, answered: str) -> Format:
    name = "prompt_completion"
    refused = _needs(name, asked, answered)

    def convert(source: Source) -> Source | str:
        why = refused(source)
        if why:
            return why
        messages = _turns("user", source.pop(asked)) + _turns("assistant", source.pop(answered))
        return _with_system(source, messages)

    return Format(name, "chat", {"system": "system", asked: "user", answered: "assistant"}, convert)


def _alpaca(source: Source) -> Source | str:
    why = _needs("alpaca", "instruction", "output")(source)
    if why:
        return why
    asked, more, history = source.pop("instruction"), source.pop("input", None), source.pop("history", None) or []
    if type(history) is not list or not all(type(pair) is list and len(pair) == 2 for pair in history):
        return "data_type"
    if type(more) is str and more and type(asked) is str:
        asked = f"{asked}\n{more}" if asked else more
    elif more not in (None, ""):
        return "data_type"
    earlier = [turn for pair in history for turn in (*_turns("user", pair[0]), *_turns("assistant", pair[1]))]
    messages = [*earlier, *_turns("user", asked), *_turns("assistant", source.pop("output"))]
    return _with_system(source, messages)


_SPEAKERS = {"human": "user", "gpt": "assistant"}


def _sharegpt(source: Source) -> Source | str:
    why = _needs("sharegpt", "conversations")(source)
    if why:
        return why
    turns = source.pop("conversations")
    if type(turns) is not list:
        return "data_type"
    tools = source.get("tools")
    if type(tools) is str:
        if "\\u0000" in tools:
            return "null_character"
        try:
            tools = orjson.loads(tools or "[]")
        except orjson.JSONDecodeError:
            return "invalid_tools"
        source["tools"] = [_tool(tool) for tool in tools] if type(tools) is list else tools
    return _with_system(source, [_speech(turn) for turn in turns])


def _speech(turn: Any) -> Any:
    if type(turn) is not dict or "from" not in turn:
        return turn
    speaker = turn.pop("from")
    role = _SPEAKERS.get(speaker, speaker) if type(speaker) is str else speaker
    return {"role": role, "content": turn.pop("value", None), **turn}


def _tool(tool: Any) -> Any:
    bare = type(tool) is dict and "function" not in tool
    return {"type": "function", "function": tool} if bare else tool


def _preference(source: Source) -> Source | str:
    why = _needs("preference", "input", "preferred_output", "non_preferred_output")(source)
    return why or (source if type(source["input"]) is dict else "data_type")


_PROMPTS = ("prompt", "question", "instruction")


def _chosen_rejected(source: Source) -> Source | str:
    why = _needs("preference", "chosen", "rejected")(source)
    if why:
        return why
    asked = next((name for name in _PROMPTS if name in source), None)
    prompt = _turns("user", source.pop(asked)) if asked else []
    (before, preferred), (before_other, other) = (
        _asked_and_answered(_turns("assistant", source.pop(name))) for name in ("chosen", "rejected")
    )
    if before != before_other:
        return "outputs_differ_in_question"
    if not before and not prompt:
        return "missing_field"
    question = _with_system({"system": source.pop("system", None)}, before or prompt)
    return {**source, "input": question, "preferred_output": preferred, "non_preferred_output": other}


def _asked_and_answered(messages: list[Any]) -> tuple[list[Any], list[Any]]:
    """A dialogue up to the user's last message, and what follows."""
    asked = [n for n, message in enumerate(messages) if type(message) is dict and message.get("role") == "user"]
    end = asked[-1] + 1 if asked else 0
    return messages[:end], messages[end:]


def _reinforcement(source: Source) -> Source | str:
    return _needs("reinforcement", "messages")(source) or source


def _text(source: Source) -> Source | str:
    return _needs("text", "text")(source) or source


CHAT = Format("chat", "chat", {"messages": "messages", "tools": "tools"}, _chat)
PAIRS = tuple(
    _pair(*names)
    for names in (
        ("prompt", "completion"),
        ("prompt", "response"),
        ("question", "answer"),
        ("instruction", "response"),
        ("input", "output"),
    )
)
ALPACA = Format(
    "alpaca",
    "chat",
    {
        "system": "system",
        "history": "user and assistant, in turns",
        "instruction": "user",
        "input": "user, on a line below",
        "output": "assistant",
    },
    _alpaca,
)
SHAREGPT = Format(
    "sharegpt",
    "chat",
    {"system": "system", "conversations": "messages (human: user, gpt: assistant)", "tools": "tools"},
    _sharegpt,
)
TEXT = Format("text", "text", {"text": "text"}, _text)
PREFERENCE = Format(
    "preference",
    "preference",
    {"input": "input", "preferred_output": "preferred_output", "non_preferred_output": "non_preferred_output"},
    _preference,
)
CHOSEN_REJECTED = Format(
    "preference",
    "preference",
    {
        "system": "input, as system",
        **dict.fromkeys(_PROMPTS, "input, as user"),
        "chosen": "preferred_output",
        "rejected": "non_preferred_output",
    },
    _chosen_rejected,
)
REINFORCEMENT = Format("reinforcement", "reinforcement", {"messages": "messages", "tools": "tools"}, _reinforcement)
FORMATS = {form.name: form for form in (CHAT, PAIRS[0], ALPACA, SHAREGPT, TEXT, PREFERENCE, REINFORCEMENT)}
