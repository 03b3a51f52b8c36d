"""Facts of an answer that its source has: numbers with their units, money, dates, codes, names. English formats."""

import json
import re
from collections.abc import Iterator
from typing import Any

from shared.domain.beside import composed, read_beside
from shared.grading.ready import normalized, seen, term_pattern, unescaped

_TABLE = composed(read_beside(__file__))
_UNITS = {one: unit.split()[0] for unit in _TABLE["units"] for one in unit.split()}
_WORDS, _MONTHS = _TABLE["words"], _TABLE["months"]
_DATE, _CODE, _NUMBER = (re.compile(_TABLE[name]) for name in ("date", "code", "number"))
_PLACE, _NAME, _BEFORE_NAME = (re.compile(_TABLE[name]) for name in ("place", "name", "before_name"))


def grounded(answer: str, source: Any, *, names: bool) -> float:
    """Share of the answer's facts, each counted once, that the source has; 1 for an answer without any."""
    try:
        given = seen(_text(json.loads(answer)))
    except (ValueError, RecursionError):
        given = seen(unescaped(answer))
    words = seen(_text(source))
    whole, dates = normalized(words), {one for match in _DATE.finditer(words) for one in _days(match)}
    spelled = re.sub(rf"\b(?:{'|'.join(_WORDS)})\b", lambda word: f"{_WORDS.index(word[0])}", words.lower())
    numbers = {one for number, unit in _numbers(spelled) for one in ((number, unit), (number, "any"))}
    found: dict[Any, bool] = {match[0]: not dates.isdisjoint(_days(match)) for match in _DATE.finditer(given)}
    given = _PLACE.sub("", _DATE.sub(" ", given))
    called = (_BEFORE_NAME.sub("", name) for name in _NAME.findall(given) if names)
    for term in (*_CODE.findall(given), *(name for name in called if " " in name)):
        found[term] = term_pattern(term).search(whole) is not None
    # A number without a unit may have any in the source; one with a unit has that or none.
    for number, unit in _numbers(_CODE.sub(" ", given).lower()):
        found[number, unit] = not numbers.isdisjoint({(number, unit), (number, "" if unit else "any")})
    return sum(found.values()) / len(found) if found else 1.0


def _text(value: Any) -> str:
    """Without the names of slots."""
    if isinstance(value, dict | list):
        return "\n".join(map(_text, value.values() if isinstance(value, dict) else value))
    return unescaped(value) if isinstance(value, str) else f"{value}"


def _numbers(text: str) -> Iterator[tuple[str, str]]:
    for before, whole, decimals, after in _NUMBER.findall(text):
        digits = (whole.replace(",", "") or "0") + decimals.rstrip("0").rstrip(".")
        yield digits, _UNITS.get(before) or _UNITS.get(after, "")


def _days(match: re.Match[str]) -> set[tuple[int, ...]]:
    """Of 3/4/2026 both: which is the month, the writer knows."""
    year, month, day, one, other, slashed, named, of, in_, first, called, last = match.groups()
    place = _MONTHS.index((named or called).lower()) + 1 if named or called else 0
    days = ((year, month, day), (slashed, one, other), (slashed, other, one), (in_, place, of), (last, place, first))
    return {tuple(map(int, each)) for each in days if each[0]}
