"""Facts of an answer that its source has: numbers with their units, money, dates, codes, names. English formats."""

import json
import re
from collections.abc import Iterator
from typing import Any

from shared.grading.ready import normalized, seen, term_pattern, unescaped

# Letters behind a number that are none of these say nothing: "64F", "3m".
_SPELLED = """$ usd dollar dollars|eur \u20ac euro euros|gbp \u00a3 pound pounds|% percent|mcg ug \u03bcg micrograms
|mg milligram milligrams|g gram grams|kg kilogram kilograms|ml milliliters|mm millimeters|cm centimeters|km kilometers
|kw kilowatts|rpm|bar|psi|min minute minutes|h hr hrs hour hours|d day days|wk week weeks|mo month months|y year years
"""
_UNITS = {one: unit.split()[0] for unit in _SPELLED.split("|") for one in unit.split()}
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = rf"({'|'.join(_MONTHS)})[a-z]*\.?"
_DATE = re.compile(
    rf"(?i)\b(?:(\d{{4}})-(\d\d)-(\d\d)|(\d\d?)/(\d\d?)/(\d{{4}})|{_MONTH} (\d\d?)(?:st|nd|rd|th)?,? (\d{{4}})"
    rf"|(\d\d?)(?:st|nd|rd|th)? {_MONTH},? (\d{{4}}))(?!\d)"
)
# A letter, then a digit, with hyphens and the like between or not; or digits with capitals behind a hyphen.
_CODE = re.compile(
    r"(?<![\w.-])(?:[A-Za-z]+(?:[-_/]?\d[A-Za-z]*)+|\d+(?:[-_/]?[A-Z]+\d+)+|\d+-[A-Z]+)(?:[-_/.]\w+)*(?!\w)"
)
_NUMBER = re.compile(
    r"(usd|[$\u20ac\u00a3])? ?(\d{1,3}(?:,\d{3})+(?!\d)|\d+|(?=\.\d))(\.\d+)?(?:[ -]?([a-z\u03bc]+|[%$\u20ac]))?"
)
_PLACE = re.compile(r"(?m)^ *\d{1,2}[.)] ")  # of a list
_NAME = re.compile(r"(?:[A-Z][a-z'\u2019]+\.? )+[A-Z][a-z'\u2019]+")
_BEFORE_NAME = re.compile(r"^(?:(?:Dear|The|An?|In|On|At|For|From|To|By|And|Mrs?|Ms|Dr)\.? )+")


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
