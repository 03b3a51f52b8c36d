"""Strict JSON at the parser's speed: what `orjson` lets pass silently and a dataset must not hold."""

import json
import re
from typing import Any

import orjson
import re2

from shared.validation.lines import decoded
from shared.validation.names import Refused

_COLON = re2.compile(rb"\\u003[aA]")
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**64 - 1  # what the parser keeps exactly
_DIGITS_MAX = 20
_DEPTH = 254  # levels that the encoder writes; the parser reads 1,024


def loaded(text: str | bytes) -> Any:
    """The JSON value that a text holds, None if it holds none."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def loaded_text(text: str) -> Any:
    """The same of a text of a row, None also where it nests deeper than can be written."""
    value = loaded(text)
    if text.count("[") + text.count("{") > _DEPTH:
        try:
            orjson.dumps(value)
        except orjson.JSONEncodeError:
            return None
    return value


def why_unreadable(line: bytes) -> str:
    """The code of a line that the parser refuses."""
    if decoded(line) is None:
        return "invalid_utf8"
    if line.startswith(b"\xef\xbb\xbf"):
        return "byte_order_mark"
    return "null_character" if b"\0" in line else "invalid_json"


def what_was_lost(line: bytes, written: bytes) -> str | None:
    """The code of what the parser dropped silently (one of two equal keys, digits of a long integer) or of a NUL.
    `written`: what the encoder made of it; equal to `line`, nothing was lost. An integer beyond 64 bits has an exponent
    there."""
    if b"\\u0000" in written and _NUL.search(written) is not None:
        return "null_character"
    if written == line:
        return None
    # Each key is followed by a colon, and every other colon stands inside a string. So a line with as many as the
    # document lost no key. Only a colon that the line spells as an escape could hide one, and is looked at slowly.
    if b"e+" in written or _COLON.search(line) is not None:
        return _slowly(line)
    return None if line.count(b":") == written.count(b":") else "duplicate_key"


def lost_in(text: str, value: Any) -> str | None:
    """The same of a text that `loaded_text` made this value of."""
    return what_was_lost(text.encode(), orjson.dumps(value))


def _slowly(line: bytes) -> str | None:
    try:
        json.loads(line, object_pairs_hook=_refuse_duplicates, parse_int=_refuse_large)
    except Refused as lost:
        return lost.code
    return None


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise Refused("duplicate_key")


def _refuse_large(digits: str) -> None:
    if len(digits) > _DIGITS_MAX or not _MIN_INTEGER <= int(digits) <= _MAX_INTEGER:
        raise Refused("number_out_of_range")
