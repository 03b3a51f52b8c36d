"""The texts inside a JSON value, and the same value with other texts in their place."""

from collections.abc import Collection, Iterator
from typing import Any

import orjson

from shared.validation.content.personal_patterns import is_number_of_thing
from shared.validation.names import shown
from shared.validation.strict import loaded_text

# Keys of a message and its tool calls that belong to the form and say nothing.
MESSAGE_FORM = frozenset(("role", "tool_call_id", "id", "type", "weight"))


def texts_of(value: Any, form: Collection[str] = (), key: str = "") -> Iterator[str]:
    """Every text, in order, and every number as it is written, except under the keys of `form`.

    JSON text under the key `arguments` is read as what it stands for. The number of a part and the like is no text.
    """
    if key in form or (type(value) is str and is_number_of_thing(key, value)):
        return
    if type(value) is str:
        parsed = _parsed(value) if key == "arguments" else None
        if parsed is None:
            yield value
        else:
            yield from texts_of(parsed)
    elif type(value) is dict:
        for name, inner in value.items():
            yield from texts_of(inner, form, name)
    elif type(value) is list:
        for inner in value:
            yield from texts_of(inner, form)
    elif type(value) is int or type(value) is float:
        yield str(value)


def with_texts(value: Any, texts: Iterator[str], form: Collection[str] = (), key: str = "") -> Any:
    """`value` with the texts of `texts_of` replaced in order. A number that was replaced becomes text."""
    if key in form or (type(value) is str and is_number_of_thing(key, value)):
        return value
    if type(value) is str:
        parsed = _parsed(value) if key == "arguments" else None
        if parsed is None:
            return next(texts)
        changed = with_texts(parsed, texts)
        return value if changed == parsed else orjson.dumps(changed).decode()
    if type(value) is dict:
        return {name: with_texts(inner, texts, form, name) for name, inner in value.items()}
    if type(value) is list:
        return [with_texts(inner, texts, form) for inner in value]
    if type(value) is int or type(value) is float:
        text = next(texts)
        return value if text == str(value) else text
    return value


def texts_of_row(document: dict[str, Any]) -> Iterator[str]:
    """Every text of a canonical row, its other fields included."""
    for name, part in document.items():
        if name == "messages":
            for message in part:
                if len(message) == 2:  # by far the most: a role and a text
                    yield message["content"]
                else:
                    yield from texts_of(message, MESSAGE_FORM)
        else:
            yield from texts_of(part, _form_of(name), name)


def fields_of_row(document: dict[str, Any]) -> list[str]:
    """Beside each text of `texts_of_row` the field that holds it, empty for one that the model reads."""
    before = texts_of_row({name: part for name, part in document.items() if name != "item"})  # the last part
    fields = (shown(field) for field, inner in document["item"].items() for _ in texts_of(inner, (), field))
    return [*("" for _ in before), *fields]


def with_texts_of_row(document: dict[str, Any], texts: Iterator[str]) -> dict[str, Any]:
    """The row with the texts of `texts_of_row` replaced in order."""
    return {name: with_texts(part, texts, _form_of(name), name) for name, part in document.items()}


def _form_of(name: str) -> Collection[str]:
    """A field of `item` can hold any text, whatever its name."""
    return () if name == "item" else MESSAGE_FORM


def _parsed(text: str) -> Any:
    """The JSON object or list in a text, None if it holds none."""
    value = loaded_text(text)
    return value if type(value) in (dict, list) else None
