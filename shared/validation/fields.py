"""Fields of a row beside those that its format is made of: kept for graders, refused, or named as ignored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from shared.domain.findings import ROWS_SHOWN, Findings
from shared.domain.graders import Grader
from shared.domain.recipe import Recipe, Reinforcement
from shared.grading import fields, read_fields
from shared.validation.names import NAMES_MAX, OTHER_NAMES, shown

MEDIA = frozenset({"image", "images", "image_path", "image_url", "audio", "audios", "video", "videos", "pixel_values"})
PASSAGES = frozenset(
    {"context", "contexts", "passage", "passages", "document", "documents", "retrieved_context", "retrieved_documents"}
)
# What says of an answer that it is good or bad: the labels of KTO (TRL, LLaMA-Factory) and of feedback buttons.
_MARKS = frozenset({"label", "kto_tag", "rating", "score", "reward", "feedback", "vote", "thumbs", "thumbs_up"})
_FLAGS = frozenset({"accepted", "approved", "correct", "desirable", "good", "is_correct", "is_good", "preferred"})
_INVERSE = frozenset({"bad", "is_bad", "rejected", "thumbs_down", "undesirable"})
MARKS = _MARKS | _FLAGS | _INVERSE
_BAD_WORDS = frozenset({"bad", "dislike", "disliked", "thumbs_down", "thumbs down", "👎", "undesirable"})
_FALSE, _TRUE = frozenset({"false"}), frozenset({"true"})
# That a row is not to be learned. A `weight` of anything but 0 may be that of a part.
_ROW_WEIGHTS = frozenset({"weight", "sample_weight", "loss_weight", "train", "trainable"})
SPECIAL = MEDIA | PASSAGES | _ROW_WEIGHTS

_EMPTY: tuple[Any, ...] = (None, "", [], {})
_CLASSES_MAX = 20
_SEARCHED_MAX = 2**28


class UsedFields(NamedTuple):
    """Row fields that graders, rewards, slices or the split read. `others`: a grader may read more, unknown which."""

    names: frozenset[str] = frozenset()
    others: bool = False


def used_fields(recipe: Recipe) -> UsedFields:
    """What the recipe reads of a row beside what is learned."""
    graders: list[Grader] = [*recipe.evaluation.graders]
    if isinstance(recipe.method, Reinforcement):
        graders += recipe.method.graders
    read = read_fields(graders)
    group = {recipe.data.split_group} if recipe.data.split_group is not None else set()
    return UsedFields(frozenset((read or fields(graders)) | set(recipe.evaluation.slices) | group), read is None)


def refusals(item: dict[str, Any], messages: list[dict[str, Any]], used: frozenset[str]) -> Iterator[str]:
    """The code, with the field's name, of each field that changes what is learned and is not read.

    A passage that a message holds already is learned; one word (`context: billing`) says what a row is about.
    """
    for name in SPECIAL.intersection(item) - used:
        value = item[name]
        if value in _EMPTY:
            continue
        if name in _ROW_WEIGHTS:
            if value in (0, "0") or (isinstance(value, str) and value.casefold() == "false"):
                yield f"row_weight_not_read|{name}"
        elif name in MEDIA:
            yield f"media_not_read|{name}"
        elif not _all_said([text.strip() for text in texts_in(value) if len(text.split()) > 1], messages):
            yield f"passage_not_read|{name}"


def _all_said(texts: list[str], messages: list[dict[str, Any]]) -> bool:
    """Whether each text stands in a message. Those in the order of the messages take one pass; others at most
    `_SEARCHED_MAX` characters, beyond which they count as not found."""
    said = "\0".join(message.get("content", "") for message in messages)  # no text of a row holds this character
    place, left = 0, _SEARCHED_MAX
    for text in dict.fromkeys(texts):
        start, place = place, said.find(text, place)
        if place < start:
            left -= len(said)
            place = said.find(text) if left > 0 else -1
        if place < 0:
            return False
    return True


def texts_in(value: Any) -> Iterator[str]:
    """Every text of a JSON value, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from texts_in(part)


class FieldNotes:
    """The fields of one file's rows that nothing reads, and those that mark answers as bad. Memory is flat."""

    def __init__(self, used: UsedFields) -> None:
        self._used = used
        self._counts: dict[str, int] = {}
        self._marks: dict[str, _Mark] = {}

    def add(self, row: int, item: dict[str, Any], answer: str | None) -> None:
        """`answer`: what the row teaches to say, which a mark may call bad; None if it teaches no answer."""
        for name, value in item.items():
            if name in self._used.names or value in _EMPTY:
                continue
            if name in MARKS and answer is not None:
                self._marks.setdefault(name, _Mark(name)).add(row, value, answer)
            if name not in self._counts and len(self._counts) >= NAMES_MAX:
                name = OTHER_NAMES
            self._counts[name] = self._counts.get(name, 0) + 1

    def report(self, findings: Findings, file: str) -> None:
        """One finding for each field."""
        for name, count in self._counts.items():
            mark = self._marks.get(name)
            if mark is not None and mark.bad:
                findings.add_many("unpaired_preference", file, name, mark.bad, mark.rows)
            elif mark is not None and mark.grades:
                findings.add_many("rated_answers", file, name, count)
            elif not self._used.others:
                findings.count("ignored_field", file, shown(name), count)


class _Mark:
    """Values of one field that may say which answers are bad: false, a negative number, or 0 where all are 0 and 1.

    A field whose values only repeat what few answers say (`label: false` beside "no") is a class and no mark.
    """

    def __init__(self, name: str) -> None:
        self._inverse = name in _INVERSE
        self._is_grade = name in ("rating", "score", "reward")
        self._counts = {"bad": 0, "zero": 0, "good": 0, "other": 0}
        self._first: dict[str, list[int]] = {"bad": [], "zero": []}
        self._answers: dict[str, set[int]] = {"bad": set(), "good": set()}

    @property
    def bad(self) -> int:
        return 0 if self._is_class else self._counts["bad"] + (0 if self._counts["other"] else self._counts["zero"])

    @property
    def rows(self) -> list[int]:
        return sorted(self._first["bad"] + ([] if self._counts["other"] else self._first["zero"]))

    @property
    def grades(self) -> bool:
        return self._is_grade and self._counts["other"] > 0

    @property
    def _is_class(self) -> bool:
        bad, good = self._answers.values()
        marked = sum(self._counts.values()) - self._counts["other"]
        few = len(bad) <= _CLASSES_MAX and len(good) <= _CLASSES_MAX and 2 * len(bad | good) <= marked
        return few and bool(bad) and bool(good) and bad.isdisjoint(good)

    def add(self, row: int, value: Any, answer: str) -> None:
        kind = self._kind(_plain(value))
        self._counts[kind] += 1
        if kind in self._first and len(self._first[kind]) < ROWS_SHOWN:
            self._first[kind].append(row)
        side = self._answers["good" if kind == "good" else "bad"]
        if kind != "other" and len(side) <= _CLASSES_MAX:
            side.add(hash(answer))

    def _kind(self, value: Any) -> str:
        if isinstance(value, bool):
            return "bad" if value is self._inverse else "good"
        if isinstance(value, int | float) and value <= 1:
            if value < 0:
                return "bad"
            if value in (0, 1):
                return "zero" if value == self._inverse else "good"
        return "bad" if isinstance(value, str) and value in _BAD_WORDS else "other"


def _plain(value: Any) -> Any:
    """A cell of a table is text: `false` and `-1` are what they say."""
    if not isinstance(value, str):
        return value
    word = value.strip().casefold()
    if word in _FALSE | _TRUE:
        return word in _TRUE
    try:
        return float(word)
    except ValueError:
        return word
