"""Fields that say which answers are bad, and which rows are not to be trained on. One refuses a file only where it can
mean nothing else; `approved: false`, of an answer or of a loan, is a warning that says how to decide."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from shared.domain.beside import read_beside
from shared.domain.findings import ROWS_SHOWN

WORDS = {
    table: {name: frozenset(words.split()) for name, words in names.items()}
    for table, names in read_beside(__file__, "words.toml").items()
}
_MARKS = WORDS["marks"]
_GRADES, _THINGS, _VERBS = (_MARKS[name] for name in ("grades", "things", "verbs"))
_AROUND = _THINGS | _VERBS | _MARKS["around"]
_MEANINGS = WORDS["meanings"]
_TABLES = frozenset().union(*_MEANINGS.values())
MARKS = frozenset().union(*(_MARKS[table] for table in _TABLES))
_BAD_WORDS = _MARKS["bad_for_certain"] | _MARKS["bad"]
# The two outputs of a preference pair, in the names of their grades.
_PREFERRED, _OTHER = frozenset({"chosen", "preferred", "winner"}), frozenset({"rejected", "loser"})
_YES, _NO = frozenset({"yes", "y", "t", "on"}), frozenset({"no", "n", "f", "off"})
_PRODIGY_WORDS = {"accept": "good", "reject": "bad", "ignore": "bad"}
_OF_SCALE = re.compile(r"([-+]?\d+(?:\.\d+)?)\s*(?:/\s*\d+|out of \d+|of \d+|%|(?:stars?|points?)(?:\s|$)).*")
_STARS = "★⭐"
_CLASSES_MAX = 20  # different answers, so that a field may only repeat them
_WORST = ("bad", "zero", "open", "other", "good")
_QUESTIONS_MAX = 20_000  # that are compared; a question that is among them is known again in any later row
_BOTH_SHARE = 0.1
_SHOWN_MAX = 20
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?", re.IGNORECASE)
_NUMBERS_SHOWN = 3
_GOOD_SHARE = 0.8
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)


@lru_cache(maxsize=1024)
def plain_name(name: str) -> str:
    """`isCorrect`, `Is-Correct` and `is correct` are one name."""
    return re.sub(r"[-\s]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())).casefold()


def is_verdict(name: str, values: Iterable[Any]) -> bool:
    """Whether a field is what Prodigy writes beside a row that was accepted, rejected or ignored."""
    return plain_name(name) in _MARKS["prodigy"] and all(
        isinstance(value, str) and _plain(value) in _PRODIGY_WORDS for value in values
    )


def grade_of(field: str, value: Any) -> tuple[str, bool, float] | None:
    """What a field such as `score_chosen` grades of a pair, whether of the preferred answer, and the grade."""
    words = plain_name(field).replace("non_preferred", "rejected").split("_")
    found, grade = [word for word in words if word in _PREFERRED | _OTHER], _plain(value)
    if (
        len(found) != 1
        or type(grade) not in (int, float)
        or _GRADES.isdisjoint(word.removesuffix("s") for word in words)
    ):
        return None
    return "_".join(word for word in words if word not in found), found[0] in _PREFERRED, grade


class MarkMeaning(NamedTuple):
    """What a mark's values say. `of_answer`: not of the row. `is_zero_one`: 0 says something only beside 0 and 1."""

    of_answer: bool
    is_certain: bool
    is_bad_if_true: bool
    is_grade: bool
    is_split: bool
    is_boolean_certain: bool
    is_button: bool
    is_zero_one: bool
    is_prodigy: bool
    is_general: bool


@lru_cache(maxsize=1024)
def meaning_of(field: str) -> MarkMeaning | None:
    """None if the field's name says that it marks nothing."""
    name = plain_name(field)
    if (found := _meaning(name)) is not None:
        return found
    words = [word for word in name.split("_") if word]
    if not words or (words[-1] in _THINGS and words[0] not in _VERBS):
        return None
    meanings = [_meaning(word) for word in words if word not in _AROUND] or [_meaning(words[-1])]
    last = meanings[-1]
    return last._replace(is_boolean_certain=False) if last is not None and None not in meanings else None


def mark_of(path: Sequence[str]) -> MarkMeaning | None:
    """What the last name says, or the one before where it says nothing: `feedback.type`, `scores.value`."""
    found = meaning_of(path[-1])
    return meaning_of(path[0]) if found is None and plain_name(path[-1]) in _MARKS["no_names"] else found


def _meaning(name: str) -> MarkMeaning | None:
    """Of a name or its plural."""
    tables = {table for table in _TABLES if name in _MARKS[table]}
    if not tables:
        return _meaning(name[:-1]) if name.endswith("s") else None
    return MarkMeaning(**{flag: not tables.isdisjoint(which) for flag, which in _MEANINGS.items()})


@dataclass(frozen=True, slots=True)
class Marked:
    """A finding. `remedy`: how to keep the other rows."""

    code: str
    count: int
    rows: list[int]
    remedy: str


class Mark:
    """The values of one field of one file; memory is flat. A value is bad (false, negative, thumbs_down), a zero (bad
    where no value is other than 0 and 1), open (pending: bad where others are good), good, or other."""

    def __init__(self, path: Sequence[str], meaning: MarkMeaning) -> None:
        self._field, self._meaning = ".".join(path), meaning
        self._path = "".join(f".{name}" if _IDENTIFIER.fullmatch(name) else f'.["{name}"]' for name in path)
        self._counts = dict.fromkeys(_WORST, 0)
        self._first: dict[str, list[int]] = {"bad": [], "zero": [], "open": []}
        self._values: dict[str, dict[bytes, None]] = {"bad": {}, "zero": {}, "open": {}}  # as JSON
        self._answers: dict[str, set[int]] = {"bad": set(), "good": set()}
        self._questions: dict[int, int] = {}  # 1: with a good answer, 2: with a bad one
        self._highest = 0.0  # of grades
        self._is_text = self._is_scale = False  # numbers as text, and such as 4/5 or in a list
        self._is_certain = False
        self._says_chosen = self._says_minus_one = False

    def add(self, row: int, value: Any, question: Any, answer: str) -> None:
        """`question`: hashable, equal where the same is read before the answer. Of a list the worst counts."""
        several = type(value) is list
        read = min(map(_plain, value if several else [value]), key=lambda one: _WORST.index(self._kind(one)))
        self._is_scale |= several
        kind = self._kind(read)
        self._counts[kind] += 1
        if type(read) in (int, float):
            self._highest = max(self._highest, read if math.isfinite(read) else 0)
            self._is_text |= isinstance(value, str)
            self._is_scale |= isinstance(value, str) and not _NUMBER.fullmatch(value.strip())
        if kind in self._first:
            self._is_certain |= self._says_for_certain(read)
            self._says_minus_one |= self._meaning.is_button and read == -1
            if len(self._first[kind]) < ROWS_SHOWN:
                self._first[kind].append(row)
            if len(self._values[kind]) <= _SHOWN_MAX:
                self._values[kind][orjson.dumps(value)] = None
        self._says_chosen |= read == "chosen"
        if kind in ("bad", "zero", "good"):
            self._compare("good" if kind == "good" else "bad", hash(question), hash(answer))

    def _kind(self, value: Any) -> str:
        meaning = self._meaning
        if isinstance(value, str):
            return self._kind_of_word(value)
        if meaning.is_split or meaning.is_general or meaning.is_prodigy:
            return "other"
        if isinstance(value, bool):
            return "bad" if value is meaning.is_bad_if_true else "good"
        if isinstance(value, int | float):
            if value < 0 and meaning.of_answer:
                return "bad"
            if value in (0, 1):
                return "zero" if value == meaning.is_bad_if_true else "good"
        return "other"

    def _kind_of_word(self, text: str) -> str:
        meaning, word = self._meaning, _word(text)
        if meaning.is_split:
            return "bad" if text in _MARKS["held_out"] else "good" if text in _MARKS["trained"] else "other"
        if meaning.is_prodigy:
            return _PRODIGY_WORDS.get(word, "other")
        if word in _YES | _NO and not meaning.is_general:
            return "bad" if (word in _YES) is meaning.is_bad_if_true else "good"
        if not meaning.of_answer:
            return "other"
        if word in _MARKS["open"]:
            return "open"
        is_bad = word in (_MARKS["not_approved"] if meaning.is_general else _BAD_WORDS)
        if is_bad or (meaning.is_grade and word in _MARKS["low"]):
            return "bad"
        return "good" if word in _MARKS["good"] else "other"

    def _says_for_certain(self, value: Any) -> bool:
        if isinstance(value, str):
            word = _word(value)
            return word in _MARKS["bad_for_certain"] or (self._meaning.is_certain and word in _YES | _NO)
        return self._meaning.is_certain or (self._meaning.is_boolean_certain and isinstance(value, bool))

    def _compare(self, quality: str, question: int, answer: int) -> None:
        if len(self._answers[quality]) <= _CLASSES_MAX:
            self._answers[quality].add(answer)
        if question in self._questions or len(self._questions) < _QUESTIONS_MAX:
            self._questions[question] = self._questions.get(question, 0) | (1 if quality == "good" else 2)

    def finding(self, container: str, file: str) -> Marked | None:
        """None if the field marks nothing, or is a class that only repeats what few answers say."""
        if file == "eval" and not self._meaning.of_answer:
            return None  # what is not trained on may be there
        if self._meaning.is_prodigy and self._counts["other"]:
            return None  # answers of another kind
        kinds = ["bad"] if self._counts["other"] and self._meaning.is_zero_one else ["bad", "zero"]
        kinds += ["open"] if self._counts["good"] else []
        count = sum(self._counts[kind] for kind in kinds)
        if not count or self._is_class:
            if not self._meaning.is_grade or not self._counts["other"] or not self._highest:
                return None  # `quality: gold` is of what the row is about
            least = f"{_GOOD_SHARE * self._highest:.3g}"  # the upper fifth of the scale, such as 4 of 5
            remedy = self._keep(f"is {least} or more", f"{self._number} >= {least}", container)
            return Marked("rated_answers", sum(self._counts.values()), [], remedy)
        rows = sorted(row for kind in kinds for row in self._first[kind])
        return Marked(self._code(), count, rows, self._remedy(kinds, container))

    def _code(self) -> str:
        if self._meaning.is_split:
            return "excluded_rows" if self._counts["good"] else "marked_rows"
        if not self._meaning.of_answer:
            return "excluded_rows" if self._is_certain else "marked_rows"
        is_pair = self._says_chosen and b'"rejected"' in self._values["bad"]
        is_button = self._says_minus_one and not self._counts["other"]
        is_certain = self._is_certain or is_pair or is_button or self._is_paired or self._meaning.is_prodigy
        return "unpaired_preference" if is_certain else "marked_rows"

    @property
    def _is_paired(self) -> bool:
        """Whether questions have good and bad answers, which nothing but the quality of an answer tells apart."""
        both = sum(seen == 3 for seen in self._questions.values())
        return both > 1 and both >= _BOTH_SHARE * len(self._questions)

    @property
    def _is_class(self) -> bool:
        bad, good = self._answers.values()
        marked = sum(self._counts[kind] for kind in ("bad", "zero", "good"))
        few = len(bad) <= _CLASSES_MAX and len(good) <= _CLASSES_MAX and 2 * len(bad | good) <= marked
        may_be = self._meaning.of_answer and not self._meaning.is_certain
        return may_be and few and bool(bad) and bool(good) and bad.isdisjoint(good)

    def _remedy(self, kinds: Iterable[str], container: str) -> str:
        values = {value: orjson.loads(value) for kind in kinds for value in self._values[kind]}
        numbers = [value for value, read in values.items() if type(_plain(read)) in (int, float)]
        shown = list(values) if len(numbers) <= _NUMBERS_SHOWN else [value for value in values if value not in numbers]
        words = [f"is not {' or '.join(value.decode() for value in shown)}"] if shown else []
        conditions = [f"{self._path} != {value.decode()}" for value in shown]
        if len(numbers) > _NUMBERS_SHOWN:
            is_more = "zero" in kinds and self._counts["zero"]
            words.append("is more than 0" if is_more else "is 0 or more")
            conditions.append(f"{self._number} {'>' if is_more else '>='} 0")
        remedy = self._keep(" and ".join(words), " and ".join(conditions), container)
        marked = sum(self._counts[kind] for kind in kinds)
        return remedy if marked < sum(self._counts.values()) else f"{remedy} (here no row has another value)"

    @property
    def _number(self) -> str:
        return f"({self._path} | tonumber? // 0)" if self._is_text else self._path

    def _keep(self, words: str, condition: str, container: str) -> str:
        """In words, and for JSON as a command."""
        rows = None if self._is_scale else {"jsonl": "", "json": ".[] | "}.get(container)
        command = "" if rows is None else f": jq -c '{rows}select({condition})'"
        return f"the rows in which {self._field} {words}{command}"


def _word(text: str) -> str:
    return re.sub(r"[\s_-]+", "", text)


def _plain(value: Any) -> Any:
    """A cell of a table is text: `false` and `-1` are what they say, and so are `4/5` and stars."""
    if not isinstance(value, str):
        return value
    word = value.strip().casefold()
    if word in ("false", "true"):
        return word == "true"
    if stars := sum(map(word.count, _STARS)):
        return stars
    try:
        return float(word)
    except ValueError:
        scale = _OF_SCALE.fullmatch(word)
        return float(scale[1]) if scale else word


def is_bad(path: Sequence[str], value: Any) -> str:
    """The code of a mark of one message, empty if it says nothing bad."""
    meaning = mark_of(path)
    if meaning is None:
        return ""
    mark = Mark(path, meaning)
    mark.add(0, value, None, "")
    found = mark.finding("", "")
    return found.code if found is not None and found.code != "rated_answers" else ""
