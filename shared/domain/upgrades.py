"""What earlier versions of Droptune stored or sent, in the form of this one.

Every document and event carries the number of its form. A new optional field changes no number: readers of stored
content ignore what they do not know, so two versions run side by side. Whatever else changes gets the next number, a
function from the form before it, and a state of that version in `tests/golden/state`. See
docs/decisions/0027-documents-have-versions.md.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic_core import from_json

from shared.domain.errors import LaterVersion

Content = dict[str, Any]
Upgrade = Callable[[Content], None]

_STEPS: tuple[dict[str, Upgrade], ...] = ()
"""By kind what changes content of a version, from 1 on, into that of the next. There was none before the release."""
SCHEMA_VERSION = 1 + len(_STEPS)
Model = TypeVar("Model", bound=BaseModel)


def upgraded(kind: str, content: Content, version: object) -> Content:
    """`content` in the form of SCHEMA_VERSION. Kinds: those of documents, `event`, and models of files that jobs write.

    Content without a number has any form, for its kind has none: steps go by its shape. Raises LaterVersion for a
    number that no step leads to: hosts of that version see to it. Raises ValueError for content that is nested deeper
    than it can be copied.
    """
    if isinstance(version, int) and version > len(_STEPS) + 1:
        raise LaterVersion("later_version", f"{kind}: schema version {version} is for a host of a later version")
    first = max(version, 1) - 1 if isinstance(version, int) else 0
    steps = [by_kind[kind] for by_kind in _STEPS[first:] if kind in by_kind]
    try:
        content = deepcopy(content) if steps else content
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    for step in steps:
        step(content)
    return content


def read_file(model: type[Model], text: bytes) -> Model:
    """The document in a file that a job or another version of the app wrote. Raises ValidationError."""
    try:
        content = from_json(text)
    except ValueError:
        return model.model_validate_json(text)  # says what is wrong with it
    if isinstance(content, dict):
        content = upgraded(model.__name__, content, None)
    return model.model_validate(content, extra="ignore")


def with_unknown(stored: Any, read: Any, changed: Any) -> Any:
    """`changed` with what `stored` content has beyond `read`; in a list only items that are unchanged keep it."""
    if isinstance(stored, dict) and isinstance(read, dict) and isinstance(changed, dict):
        unknown = {name: value for name, value in stored.items() if name not in read}
        return unknown | {name: with_unknown(stored.get(name), read.get(name), changed[name]) for name in changed}
    if isinstance(stored, list) and isinstance(read, list) and isinstance(changed, list):
        kept = [with_unknown(s, r, c) if r == c else c for s, r, c in zip(stored, read, changed, strict=False)]
        return kept + changed[len(kept) :]
    return changed
