"""Text that was destroyed on its way into the file: no values, wrong decoding, escapes, cuts; or never filled in."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from shared.domain.beside import read_beside
from shared.validation.content.pattern_set import PatternSet
from shared.validation.names import NO_VALUE, NONE

DAMAGED, MOJIBAKE, UNFILLED = "damaged_text", "mojibake", "unfilled"
MIN_ROWS = 5  # of fewer rows the file is never refused, whatever their share
_MIN_CUT = 40  # characters; shorter answers have one length by chance, as labels and codes do
_CELL = 32_767  # UTF-16 code units that a cell of Excel holds (Microsoft, "Excel specifications and limits")
_WORDS = {**dict.fromkeys(NO_VALUE, "no_value"), **dict.fromkeys(NONE, "none")}
_TABLES = read_beside(__file__)
_ERROR, _MEANT, _QUOTED = (re.compile("|".join(_TABLES[name])) for name in ("error", "meant", "quoted"))
_PUNCTUATION = " \t\r\n.,;:!?…-–—_'\"“”‘’*•·´`~/\\|#"  # noqa: RUF001
CODED = {kind: "|".join(parts) for kind, parts in _TABLES["coded"].items()}
_CODED = {kind: re.compile(pattern) for kind, pattern in CODED.items()}
_STRING = re.compile(r'\s*"((?:[^"\\]|\\.)+)"\s*', re.DOTALL)  # JSON in JSON
_PLACES = re.compile("|".join(_TABLES[UNFILLED]["places"]))
_CODE = PatternSet({pattern: pattern for pattern in _TABLES[UNFILLED]["code"]})
TRIGGERS = {**CODED, MOJIBAKE: "|".join(_TABLES[MOJIBAKE]), UNFILLED: "|".join(_TABLES[UNFILLED]["trigger"])}


class Kind(NamedTuple):
    """`least` and `refused`: shares of rows from which it is reported, and from which the file is refused."""

    words: str
    remedy: str
    refused: float = 2  # never
    least: float = 0
    may_be_label: bool = False  # never an error where the answers are labels


KINDS = {kind: Kind(**found) for kind, found in _TABLES["kinds"].items()}


def damage_of(messages: Sequence[dict[str, Any]]) -> Iterator[tuple[str, int]]:
    """Kinds of damage, but mojibake, with the message that shows them: the assistant's, and all that fill a cell."""
    before = ""
    for number, message in enumerate(messages):
        text = message["content"]
        if message["role"] == "assistant" and text and (kind := _of_answer(text, before)):
            yield kind, number
        if len(text) > _CELL // 2 and len(text.encode("utf-16-le", "surrogatepass")) == 2 * _CELL:
            yield "cell_limit", number
        before = text if message["role"] == "user" else ""


def _of_answer(answer: str, question: str) -> str:
    text = answer.strip()
    if not text.strip(_PUNCTUATION):
        return "error" if _ERROR.fullmatch(text) else "punctuation"
    if len(text) < 200 and (word := _WORDS.get(text) or (_ERROR.fullmatch(text) and "error")):
        return word
    return "question" if question and text == question.strip() else ""


def unfilled(document: dict[str, Any]) -> str:
    """The first place in a dialogue or a pair that was to be filled in, empty if there is none."""
    messages = [*document.get("input", document).get("messages", ()), *document.get("preferred_output", ())]
    text = "\n".join(message["content"] for message in messages if message["role"] != "tool")
    found = None if _CODE.hits(text) else _PLACES.search(text)
    return found[0] if found else ""


def is_coded(kind: str, text: str) -> bool:
    """Whether a text shows signs of `CODED` in prose, where nobody meant them."""
    string = _STRING.fullmatch(text)
    text = string[1] if string else text
    return not _MEANT.search(text) and _CODED[kind].search(_QUOTED.sub(" ", text)) is not None


def cut_end(answer: str) -> str:
    """The end of an answer that may have been cut: in or after a word, after a comma, or marked so. Empty of others."""
    last = answer[-1:]
    if not (last.isalpha() or last in " ,…" or answer[-3:] == "...") or last.isupper():
        return ""
    end = answer[-40:]
    return end if len(end) > 3 and (" " in end or not end.isascii()) else ""


class CutAnswers:
    """Of the answers of a part. Memory: a few row numbers for each length."""

    def __init__(self) -> None:
        self.lengths: Counter[int] = Counter()  # of all answers
        self._cut: Counter[int] = Counter()  # 0: those that end in an ellipsis
        self._first: defaultdict[int, list[tuple[int, str]]] = defaultdict(list)

    def add(self, number: int, length: int, end: str) -> None:
        """Take an answer of which `cut_end` gives an end. `length`: in characters."""
        self._cut[length] += 1
        first = self._first[length]
        if len(first) < MIN_ROWS:
            first.append((number, end))
        if end[-1] in ".…" and length:
            self.add(number, 0, end)

    def found(self) -> Iterator[tuple[str, int, list[int]]]:
        """Kind, count and some rows: lengths at which far more answers end than around; else ellipses."""
        cut = [length for length in self._cut if length >= _MIN_CUT and length != _CELL and self._is_limit(length)]
        for group in cut or [0] * (self._cut[0] >= MIN_ROWS):
            yield f"cut:{group}" if group else "ellipsis", self._cut[group], [row for row, _ in self._first[group]]

    def _is_limit(self, length: int) -> bool:
        count, ends = self._cut[length], {end[-4:] for _, end in self._first[length]}
        here, around = self.lengths[length], sum(self.lengths[length + by] for by in range(-8, 9))
        return count >= MIN_ROWS and count > max(around - here, 0.7 * here) and len(ends) > MIN_ROWS // 2


def finding_of(kind: str, count: int, rows: int, *, labels: bool) -> tuple[str, str, str] | None:
    """Code, detail and remedy of so many rows; None for too few. `kind` may say more after a colon."""
    kind, _, more = kind.partition(":")
    found, share = KINDS[kind], count / rows if rows else 1
    if share < found.least or (kind == UNFILLED and count < MIN_ROWS):
        return None
    refused = count >= MIN_ROWS and share >= found.refused and not (labels and found.may_be_label)
    detail = f"{found.words.format(more)} ({count} of {rows} rows, {share:.1%})"
    return "damaged_file" if refused else DAMAGED, detail, found.remedy
