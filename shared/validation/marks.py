"""Fields that say which answers are bad, and which rows are not to be trained on.

A field refuses a file only where it can mean nothing else. `approved: false` may say that an answer is bad, or that a
loan was not given: that is a warning, which says how to decide.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from shared.domain.findings import ROWS_SHOWN

# Of answers: labels of KTO (TRL, LLaMA-Factory) and of feedback buttons. The first can mean nothing else.
_CERTAIN = frozenset(
    {"kto_tag", "thumb", "thumbs", "thumbs_up", "desirable", "is_desirable", "is_good"}
    | {"bad_answer", "bad_response", "good_answer", "good_response", "is_bad", "thumbs_down", "undesirable"}
)
_GRADES = frozenset({"grade", "helpfulness", "quality", "rating", "reward", "score"})
_MAYBE = frozenset(
    {"accepted", "approved", "correct", "good", "helpful", "is_accepted", "is_approved", "is_correct", "is_helpful"}
    | {"is_preferred", "preferred", "feedback", "label", "user_feedback", "verdict", "vote"}
)
_BUTTONS = frozenset({"feedback", "rating", "user_feedback", "vote"})  # -1 and 1, where there is no other value
_BAD_IF_TRUE = frozenset(
    {"bad", "bad_answer", "bad_response", "is_bad", "is_rejected", "rejected", "thumbs_down", "undesirable"}
)
# Of rows. The first are the names that trainers have for what is learned of a message.
_LEARNED = frozenset(
    {"train", "trainable", "loss_weight", "loss_scale", "sample_weight", "use_for_training", "is_train"}
)
_WEIGHT = "weight"  # where it has other values than 0 and 1, it may be that of a part
_LEARNED_MAYBE = frozenset({"training", "loss", "include", "included"})
_NOT_LEARNED = frozenset({"exclude", "excluded", "is_excluded", "held_out", "holdout", "ignore", "is_test", "skip"})
_SPLITS = frozenset({"split", "data_split", "dataset_split", "partition", "subset", "set"})
_HELD_OUT = frozenset({"test", "testing", "eval", "evaluation", "valid", "validation", "val", "dev", "holdout"})
_TRAINED = frozenset({"train", "training"})

MARKS = _CERTAIN | _GRADES | _MAYBE | _BAD_IF_TRUE | _LEARNED | _LEARNED_MAYBE | _NOT_LEARNED | _SPLITS | {_WEIGHT}

_BAD_FOR_CERTAIN = frozenset({"thumbsdown", "dislike", "disliked", "undesirable", "👎", "👎🏻"})
_BAD_WORDS = _BAD_FOR_CERTAIN | frozenset(
    {"bad", "down", "downvote", "downvoted", "incorrect", "negative", "poor", "rejected", "unhelpful", "wrong"}
)
_CLASSES_MAX = 20  # different answers, so that a field may only repeat them
_QUESTIONS_MAX = 20_000  # that are compared; a question that is among them is known again in any later row
_BOTH_SHARE = 0.1
_SHOWN_MAX = 20
_NUMBERS_SHOWN = 3
_GOOD_SHARE = 0.8
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def plain_name(name: str) -> str:
    """`isCorrect`, `Is-Correct` and `is correct` are one name."""
    return re.sub(r"[-\s]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())).casefold()


class MarkMeaning(NamedTuple):
    """What a mark's values say. `of_answer`: of the answer, not of the row."""

    of_answer: bool
    is_certain: bool = False
    is_bad_if_true: bool = False
    is_grade: bool = False
    is_split: bool = False
    is_boolean_certain: bool = False  # as false, not as 0
    is_button: bool = False
    is_zero_one: bool = True  # 0 says something only where no value is other than 0 and 1


@lru_cache(maxsize=1024)
def meaning_of(field: str) -> MarkMeaning | None:
    """None if the field's name says that it marks nothing."""
    name = plain_name(field)
    if name in _SPLITS:
        return MarkMeaning(False, is_split=True)
    if name == _WEIGHT:
        return MarkMeaning(False, is_certain=True)
    if name in _LEARNED | _LEARNED_MAYBE | _NOT_LEARNED:
        return MarkMeaning(False, name in _LEARNED, name in _NOT_LEARNED, is_zero_one=name not in _LEARNED)
    if name in _CERTAIN | _GRADES | _MAYBE | _BAD_IF_TRUE:
        return MarkMeaning(
            True,
            name in _CERTAIN,
            name in _BAD_IF_TRUE,
            name in _GRADES,
            is_boolean_certain=name == "label",
            is_button=name in _BUTTONS,
        )
    return None


@dataclass(frozen=True, slots=True)
class Marked:
    """A finding. `hint`: how to keep the other rows."""

    code: str
    count: int
    rows: list[int]
    hint: str


class Mark:
    """The values of one field of one file. Memory is flat.

    A value is bad (false, a negative number, a word such as thumbs_down), a zero, which is bad where no value is other
    than 0 and 1, good, or other.
    """

    def __init__(self, field: str, meaning: MarkMeaning) -> None:
        self._field, self._meaning = field, meaning
        self._counts = {"bad": 0, "zero": 0, "good": 0, "other": 0}
        self._first: dict[str, list[int]] = {"bad": [], "zero": []}
        self._values: dict[str, dict[bytes, None]] = {"bad": {}, "zero": {}}  # as JSON
        self._answers: dict[str, set[int]] = {"bad": set(), "good": set()}
        self._questions: dict[int, int] = {}  # 1: with a good answer, 2: with a bad one
        self._highest = 0.0  # of grades
        self._is_text = False
        self._is_certain = False
        self._says_chosen = self._says_minus_one = False

    def add(self, row: int, value: Any, question: Any, answer: str) -> None:
        """`question`: of any hashable kind, equal where the model reads the same before its answer."""
        read = _plain(value)
        kind = self._kind(read)
        self._counts[kind] += 1
        if type(read) in (int, float):
            self._highest = max(self._highest, read if math.isfinite(read) else 0)
            self._is_text |= isinstance(value, str)
        if kind in self._first:
            self._is_certain |= self._says_for_certain(read)
            self._says_minus_one |= self._meaning.is_button and read == -1
            if len(self._first[kind]) < ROWS_SHOWN:
                self._first[kind].append(row)
            if len(self._values[kind]) <= _SHOWN_MAX:
                self._values[kind][orjson.dumps(value)] = None
        self._says_chosen |= read == "chosen"
        if kind != "other":
            self._compare("good" if kind == "good" else "bad", hash(question), hash(answer))

    def _kind(self, value: Any) -> str:
        meaning = self._meaning
        if meaning.is_split:
            word = value if isinstance(value, str) else ""
            return "bad" if word in _HELD_OUT else "good" if word in _TRAINED else "other"
        if isinstance(value, bool):
            return "bad" if value is meaning.is_bad_if_true else "good"
        if isinstance(value, int | float):
            if value < 0 and meaning.of_answer:
                return "bad"
            if value in (0, 1):
                return "zero" if value == meaning.is_bad_if_true else "good"
        is_bad = isinstance(value, str) and meaning.of_answer and _word(value) in _BAD_WORDS
        return "bad" if is_bad else "other"

    def _says_for_certain(self, value: Any) -> bool:
        if isinstance(value, str):
            return _word(value) in _BAD_FOR_CERTAIN
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
        kinds = ["bad"] if self._counts["other"] and self._meaning.is_zero_one else ["bad", "zero"]
        count = sum(self._counts[kind] for kind in kinds)
        if not count or self._is_class:
            if not self._meaning.is_grade or not self._counts["other"] or not self._highest:
                return None  # `quality: gold` is of what the row is about
            return Marked("rated_answers", sum(self._counts.values()), [], self._hint_of_grade(container))
        rows = sorted(row for kind in kinds for row in self._first[kind])
        return Marked(self._code(), count, rows, self._hint(kinds, container))

    def _code(self) -> str:
        if self._meaning.is_split:
            return "excluded_rows" if self._counts["good"] else "marked_rows"
        if not self._meaning.of_answer:
            return "excluded_rows" if self._is_certain else "marked_rows"
        is_pair = self._says_chosen and b'"rejected"' in self._values["bad"]
        is_button = self._says_minus_one and not self._counts["other"]
        is_certain = self._is_certain or is_pair or is_button or self._is_paired
        return "unpaired_preference" if is_certain else "marked_rows"

    @property
    def _is_paired(self) -> bool:
        """Whether questions have good and bad answers, which nothing but the quality of an answer tells apart."""
        both = sum(seen == 3 for seen in self._questions.values())
        return both > 1 and both >= _BOTH_SHARE * len(self._questions)

    @property
    def _is_class(self) -> bool:
        bad, good = self._answers.values()
        marked = sum(self._counts.values()) - self._counts["other"]
        few = len(bad) <= _CLASSES_MAX and len(good) <= _CLASSES_MAX and 2 * len(bad | good) <= marked
        may_be = self._meaning.of_answer and not self._meaning.is_certain
        return may_be and few and bool(bad) and bool(good) and bad.isdisjoint(good)

    def _hint(self, kinds: Iterable[str], container: str) -> str:
        hint = self._kept(kinds, container)
        marked = sum(self._counts[kind] for kind in kinds)
        return hint if marked < sum(self._counts.values()) else f"{hint} (here no row has another value)"

    def _kept(self, kinds: Iterable[str], container: str) -> str:
        values = {value: orjson.loads(value) for kind in kinds for value in self._values[kind]}
        numbers = [value for value, read in values.items() if type(_plain(read)) in (int, float)]
        shown = list(values) if len(numbers) <= _NUMBERS_SHOWN else [value for value in values if value not in numbers]
        words = [f"is not {' or '.join(value.decode() for value in shown)}"] if shown else []
        conditions = [f"{_path(self._field)} != {value.decode()}" for value in shown]
        if len(numbers) > _NUMBERS_SHOWN:
            is_more = "zero" in kinds and self._counts["zero"]
            words.append("is more than 0" if is_more else "is 0 or more")
            conditions.append(f"{self._number} {'>' if is_more else '>='} 0")
        return _keep(" and ".join(words), self._field, " and ".join(conditions), container)

    @property
    def _number(self) -> str:
        return f"({_path(self._field)} | tonumber? // 0)" if self._is_text else _path(self._field)

    def _hint_of_grade(self, container: str) -> str:
        """The upper fifth of the scale, such as 4 of 5."""
        least = f"{_GOOD_SHARE * self._highest:.3g}"
        return _keep(f"is {least} or more", self._field, f"{self._number} >= {least}", container)


def _keep(words: str, field: str, condition: str, container: str) -> str:
    """In words, and for JSON as a command."""
    rows = {"jsonl": "", "json": ".[] | "}.get(container)
    command = "" if rows is None else f": jq -c '{rows}select({condition})'"
    return f"the rows in which {field} {words}{command}"


def _path(field: str) -> str:
    return f".{field}" if _IDENTIFIER.fullmatch(field) else f'.["{field}"]'


def _word(text: str) -> str:
    return re.sub(r"[\s_-]+", "", text)


def _plain(value: Any) -> Any:
    """A cell of a table is text: `false` and `-1` are what they say."""
    if not isinstance(value, str):
        return value
    word = value.strip().casefold()
    if word in ("false", "true"):
        return word == "true"
    try:
        return float(word)
    except ValueError:
        return word
