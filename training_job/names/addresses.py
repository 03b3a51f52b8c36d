"""Postal addresses by their form, without a model: American, British, Irish, Canadian, Australian, and those of
countries that write the street before the number.

An address has a street with a number and a kind (Street, -straße, rue), a number before names and a postal code after
them, a post-office box, or names before a British or Irish code. RE2 takes linear time on any text.
"""

from pathlib import Path

import re2

from shared.domain.beside import composed, read_beside


def _read(path: Path) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            name, _, words = line.partition(": ")
            found.setdefault(name, set()).update(words.split())
    return {name: frozenset(words) for name, words in found.items()}


WORDS = _read(Path(__file__).with_name("words.txt"))
PATTERNS = {table: composed(patterns) for table, patterns in read_beside(__file__, "patterns.toml").items()}


_OPTIONS = re2.Options()
_OPTIONS.max_mem = 64 * 2**20  # with less it matches at half the speed
_OPTIONS.log_errors = False
_PATTERNS = tuple(re2.compile(form, _OPTIONS) for form in PATTERNS["address"]["forms"])
_COUNTED = WORDS["counted"]
_NUMBERED = re2.compile(PATTERNS["address"]["numbered"])
_BEFORE_CODE = re2.compile(PATTERNS["address"]["before_code"], _OPTIONS)


def addresses(text: str) -> list[tuple[int, int]]:
    """Start and end of each, in characters, in order; no two overlap. Where several forms fit, they are one."""
    found = sorted(match.span() for form in _PATTERNS for match in form.finditer(text))
    apart: list[tuple[int, int]] = []
    # Names before a code may be anybody's where a street with a number is there too.
    for start, end in [*found, *(match.span() for match in _BEFORE_CODE.finditer(text))]:
        before = text[max(0, start - 20) : start].split()[-1:] if "," not in text[start:end] else []
        if not _COUNTED.isdisjoint([*before, text[start:end].split(maxsplit=1)[0]]):
            continue
        inside = [(one, other) for one, other in apart if one < end and start < other]
        if not inside:
            apart.append((start, end))
        elif len(inside) == 1 and (start >= inside[0][0] or not _NUMBERED.search(text[slice(*inside[0])])):
            apart.remove(inside[0])
            apart.append((min(start, inside[0][0]), max(end, inside[0][1])))
    return sorted(apart)
