"""Harmful requests that are answered, threats and contempt, by English phrases: docs/explanation/content-scan.md."""

from collections.abc import Iterable, Mapping
from typing import Any

import re2

from shared.domain.beside import read_beside
from shared.domain.graders import REFUSALS
from shared.grading.ready import refuses
from shared.validation.content.pattern_set import PatternSet

REQUEST_CHARACTERS = 300  # at either end of a message: between them stands a document, which asks for nothing
MIN_WORDS = 6  # fewer are a label of the request
_ANY, _NEAR, _CLOSE = (f"[^.?!\n]{times}" for times in ("*", "{0,80}", "{0,40}"))  # inside a sentence
_RULES: dict[str, Any] = read_beside(__file__, "harmful.toml")


def _requests(kind: str, near: str, close: str) -> str:
    """The pattern of a kind; with `_ANY` it takes less memory and finds more."""
    found = "|".join(
        (rf"\b(?:{act})\b{close}" if act else "") + rf"\b(?:{of})\b" for act, of in _RULES["requests"][kind]
    )
    made = _RULES["made"].get(kind)
    return rf"\b(?:{'|'.join(_RULES['asks'])})\b{near}(?:{found})" + (
        rf"|\b{_RULES['makes']}\b(?:{made})" if made else ""
    )


def _any_case(patterns: Mapping[str, str]) -> dict[str, str]:
    return {kind: f"(?i){pattern}" for kind, pattern in patterns.items()}


KINDS = frozenset(_RULES["requests"])
_MAY_ASK = PatternSet(_any_case({kind: _requests(kind, _ANY, _ANY) for kind in KINDS}))
_ASKS = {
    kind: re2.compile(one) for kind, one in _any_case({kind: _requests(kind, _NEAR, _CLOSE) for kind in KINDS}).items()
}
_BESIDE = re2.compile(rf"(?i)\b(?:{'|'.join(_RULES['beside'])})\b")
_SAYS = PatternSet(_any_case({kind: "|".join(one) for kind, one in _RULES["answers"].items()}))


def requested(text: str) -> set[str]:
    """The kinds of harm that a message asks for."""
    ends = text if len(text) <= 2 * REQUEST_CHARACTERS else f"{text[:REQUEST_CHARACTERS]}\n{text[-REQUEST_CHARACTERS:]}"
    if not _MAY_ASK.hits(ends):
        return set()
    rest = _BESIDE.sub(" ", ends)
    return {kind for kind in _MAY_ASK.hits(rest) if _ASKS[kind].search(rest)}


def find(messages: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Each kind, and the place of the first learned answer that has it."""
    found, request = dict[str, int](), ""
    for place, message in enumerate(messages):
        text = message["content"]
        if message["role"] == "user":
            request = text
        elif message["role"] == "assistant" and "weight" not in message:  # a weight is 0: not learned
            kinds = set(_SAYS.hits(text))
            if (harm := requested(request)) and len(text.split()) >= MIN_WORDS and not refuses(text, REFUSALS):
                kinds |= harm
            found = {**dict.fromkeys(sorted(kinds), place), **found}
    return found
