"""How often labels and values of fields occur, with rows to look at: what a person who knows the subject asks first."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from orjson import dumps

from shared.domain.beside import read_beside
from shared.domain.dataset import Category, Ignored, ValueCount
from shared.domain.findings import Findings, counted
from shared.domain.row_fields import value_at
from shared.validation.compared import plain_label
from shared.validation.names import OTHER_NAMES, shown
from shared.validation.split import SplitLabel

_TABLES = read_beside(__file__)
ROWS_SHOWN = 3
VALUES_SHOWN = 50
# A text that fewer rows have may be what one person wrote, so it is not shown.
MIN_ROWS = 5
# Of a field whose values are to be counted: characters of a value, different values, rows for each, share of all rows.
_CHARACTERS, _VALUES, _ROWS_PER_VALUE, _SHARE = 40, 64, 3, 0.5
_NAMES = frozenset(_TABLES["sorting"].split())
_LABELS, _SPELLINGS = 2_000, 8
_NAMED = 5  # labels written in several ways


def ignored(findings: Findings) -> tuple[Ignored, ...]:
    """What the findings say is neither learned nor used, of both files together."""
    rows: Counter[str] = Counter()
    for code, words in _TABLES["ignored"].items():
        for _, detail, count in findings.counts(code):
            rows[words.replace("{detail}", detail)] += count
    return tuple(Ignored(what=what, rows=count) for what, count in rows.items())


@dataclass(slots=True)
class _Value:
    text: str
    count: int = 0
    rows: list[int] = field(default_factory=list)

    def add(self, number: int) -> None:
        self.count += 1
        if len(self.rows) < ROWS_SHOWN and number > 0:
            self.rows.append(number)


class Examples:
    """Give it every training row; memory is fixed. `is_plain`: whether a report may show a text."""

    def __init__(self, slices: Collection[str], is_plain: Callable[[str], bool]) -> None:
        self._slices = frozenset(slices)
        self._paths = [path for path in slices if "." in path]
        self._is_plain = is_plain
        self._rows = 0
        self._labels: dict[int, dict[str, _Value]] = {}  # by how they are written
        self._fields: dict[str, dict[str, _Value] | None] = {}  # None: too many values

    def add(self, number: int, item: dict[str, Any]) -> None:
        """`number` is negative for a row that the dropped file does not hold."""
        self._rows += 1
        for name, value in item.items():
            if (name in self._slices or name.lower() in _NAMES) and (type(value) is str or type(value) is bool):
                self._add_value(name, str(value), number)
        for path in self._paths:
            value = value_at(item, path)
            if path not in item and (type(value) is str or type(value) is bool):
                self._add_value(path, str(value), number)

    def add_label(self, number: int, key: int, text: str) -> None:
        """`key`: of the label, by which it is counted; `text`: as it is written; `number`: 0 of a held-out row."""
        if key in self._labels or len(self._labels) < _LABELS:
            written = self._labels.setdefault(key, {})
            if text in written or len(written) < _SPELLINGS:
                written.setdefault(text, _Value(text)).add(number)

    def _add_value(self, name: str, value: str, number: int) -> None:
        values = self._fields.setdefault(name, {})
        if values is None:
            return
        if len(value) > _CHARACTERS or (value not in values and len(values) >= _VALUES):
            self._fields[name] = None
        else:
            values.setdefault(value, _Value(value)).add(number)

    def labels(self, labels: Iterable[SplitLabel]) -> tuple[ValueCount, ...]:
        """Of the labels, most rows first, those that are shown."""
        found = []
        for label in list(labels)[:VALUES_SHOWN]:
            written = self._labels.get(label.key, {})
            text = self._text(plain_label(next(iter(written), "")), label.train + label.held_out)
            rows = sorted(row for value in written.values() for row in value.rows)[:ROWS_SHOWN]
            count = ValueCount(value=text, train_rows=label.train, eval_rows=label.held_out, rows=tuple(rows))
            found.append(count)
        return tuple(found)

    def named(self, labels: Iterable[int]) -> str:
        """The first of these labels that may be shown, in brackets; empty if none may."""
        found = filter(None, (self._labels.get(key, {}).values() for key in labels))
        texts = (self._text(plain_label(next(iter(one)).text), sum(each.count for each in one)) for one in found)
        words = [dumps(text).decode() for text in islice(filter(None, texts), _NAMED)]
        return f" ({', '.join(words)})" if words else ""

    def report_spellings(self, labels: Iterable[SplitLabel], findings: Findings) -> None:
        """Labels that are written in several ways: the rows of all but the most frequent one."""
        found = (self._labels.get(one.key, {}).values() for one in labels)
        several = [sorted(one, key=lambda value: (-value.count, value.text)) for one in found if len(one) > 1]
        if not several:
            return
        named = [written for written in several if all(self._is_plain(value.text) for value in written)]
        words = (
            " and ".join(f"{dumps(one.text).decode()} ({one.count})" for one in written) for written in named[:_NAMED]
        )
        others = [value for written in several for value in written[1:]]
        rows = sorted(row for value in others for row in value.rows)
        detail = "; ".join(words) or counted(len(several), "label")
        findings.add_many("label_spelling", "train", detail, sum(value.count for value in others), rows)

    def categories(self) -> tuple[Category, ...]:
        """Fields that sort the rows into few kinds, such as an intent."""
        found = []
        for name, values in self._fields.items():
            rows = sum(value.count for value in (values or {}).values())
            sorts = values and len(values) > 1 and rows >= max(len(values) * _ROWS_PER_VALUE, _SHARE * self._rows)
            if values and sorts and shown(name) != OTHER_NAMES:
                most_first = sorted(values.values(), key=lambda value: (-value.count, value.text))[:VALUES_SHOWN]
                counts = (
                    ValueCount(value=self._text(each.text, each.count), train_rows=each.count, rows=tuple(each.rows))
                    for each in most_first
                )
                found.append(Category(field=name, values=tuple(counts)))
        return tuple(found)

    def _text(self, text: str, rows: int) -> str:
        return text if rows >= MIN_ROWS and self._is_plain(text) else ""
