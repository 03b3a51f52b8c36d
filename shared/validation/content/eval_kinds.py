"""Whether held-out rows are of the kind that is trained on: by what is read, and by the form of the answers."""

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median_low
from typing import Any, NamedTuple

from shared.validation.content.languages import MIXED, UNKNOWN, close

MIN_ROWS = 10  # of each part
MIN_DIFFERENCE = 0.5  # of the two shares
MIN_TIMES, MIN_CHARACTERS = 4, 40  # of the two median lengths, and of the longer one
_FORMS = ("a system message", "tools", "earlier turns", "an answer in JSON")


class RowKind(NamedTuple):
    """`forms`: bits, as `_FORMS` has them. `size`: characters of the answer, rounded down by an eighth at most."""

    language: str
    forms: int
    size: int


def kind_of(language: str, messages: Sequence[dict[str, Any]], tools: Any) -> RowKind:
    system, is_answer = messages[0]["role"] == "system", messages[-1]["role"] == "assistant"
    answer = messages[-1]["content"] if is_answer else ""
    turns = len(messages) - system - is_answer > 1 and not tools
    forms = system | bool(tools) << 1 | turns << 2 | answer.startswith(("{", "[", "```json")) << 3
    bits = max(0, len(answer).bit_length() - 4)
    return RowKind(language, forms, len(answer) >> bits << bits)


def differences(train: Counter[RowKind], held_out: Counter[RowKind]) -> Iterator[str]:
    """In words, with both figures."""
    parts = (train, held_out)
    if min(map(Counter.total, parts)) < MIN_ROWS:
        return
    for bit, words in enumerate(_FORMS):
        shares = [sum(n for kind, n in part.items() if kind.forms >> bit & 1) / part.total() for part in parts]
        if abs(shares[0] - shares[1]) >= MIN_DIFFERENCE:
            yield f"{words} in {shares[0]:.0%} of the training rows and {shares[1]:.0%} of the held-out rows"
    mains = [_main_language(part) for part in parts]
    if all(mains) and not close(*mains):
        yield f"most training rows in {mains[0]} and most held-out rows in {mains[1]}"
    sizes = [median_low([kind.size for kind in part.elements() if kind.size] or [0]) for part in parts]
    if all(sizes) and max(sizes) >= max(MIN_CHARACTERS, MIN_TIMES * min(sizes)):
        yield f"a median answer of {sizes[0]} characters in training and of {sizes[1]} held out"


def _main_language(part: Counter[RowKind]) -> str:
    """That of most rows whose language is known; empty if there is none, or too few are known."""
    known = Counter(kind.language for kind in part.elements() if kind.language not in (MIXED, UNKNOWN))
    language, count = next(iter(known.most_common(1)), ("", 0))
    return language if count >= MIN_ROWS and count > known.total() / 2 else ""
