"""The texts inside a JSON value, and the same value with other texts in their place."""

from collections.abc import Callable, Collection, Iterator
from typing import Any

import orjson

from shared.validation.content.personal_patterns import is_number_of_thing
from shared.validation.names import shown
from shared.validation.strict import loaded_text

# Keys of a message and its tool calls that belong to the form and say nothing.
MESSAGE_FORM = frozenset(("role", "tool_call_id", "id", "type", "weight"))

Change = Callable[[str], str]


def _changed(value: Any, change: Change, form: Collection[str] = (), key: str = "") -> Any:
    """`value` with what `change` makes of every text, in order, and of numbers as they are written; except under keys
    of `form`, and numbers of things. JSON text under the key `arguments` is read as what it stands for."""
    if key in form or (type(value) is str and is_number_of_thing(key, value)):
        return value
    if type(value) is str:
        parsed = loaded_text(value) if key == "arguments" else None
        if type(parsed) not in (dict, list):
            return change(value)
        changed = _changed(parsed, change)
        return value if changed == parsed else orjson.dumps(changed).decode()
    if type(value) is dict:
        return {name: _changed(inner, change, form, name) for name, inner in value.items()}
    if type(value) is list:
        return [_changed(inner, change, form) for inner in value]
    if type(value) is int or type(value) is float:
        text = change(str(value))
        return value if text == str(value) else text
    return value


def texts_of_row(document: dict[str, Any]) -> list[str]:
    """Every text of a canonical row, its other fields included."""
    found: list[str] = []

    def take(text: str) -> str:
        found.append(text)
        return text

    for name, part in document.items():
        if name != "messages":
            _changed(part, take, _form_of(name), name)
            continue
        for message in part:
            if len(message) == 2:  # by far the most: a role and a text
                found.append(message["content"])
            else:
                _changed(message, take, MESSAGE_FORM)
    return found


def fields_of_row(document: dict[str, Any]) -> list[str]:
    """Beside each text of `texts_of_row` the field that holds it, empty for one that the model reads."""
    before = texts_of_row({name: part for name, part in document.items() if name != "item"})  # the last part
    fields = (shown(field) for field, inner in document["item"].items() for _ in texts_of_row({"item": {field: inner}}))
    return [*("" for _ in before), *fields]


def with_texts_of_row(document: dict[str, Any], texts: Iterator[str]) -> dict[str, Any]:
    """The row with the texts of `texts_of_row` replaced in order."""
    return {name: _changed(part, lambda _: next(texts), _form_of(name), name) for name, part in document.items()}


def _form_of(name: str) -> Collection[str]:
    """A field of `item` can hold any text, whatever its name."""
    return () if name == "item" else MESSAGE_FORM
