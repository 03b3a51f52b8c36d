"""Which training rows are held out: a share, chosen by a hash of what they say, in units that stay together: rows of
one group, copies, rows with the same prompt, near duplicates. A label that several units give is in both splits. The
result is a function of the set of rows. Everything that grows with their number is on disk."""

import math
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby, product
from operator import itemgetter
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from shared.domain.beside import read_beside
from shared.domain.row_fields import joined
from shared.validation.content.near_duplicates import similar
from shared.validation.keys import Keys
from shared.validation.labels import MAX_LABELS, LabelCount, Labels, find_labels, rank_of_label

_SQL = read_beside(__file__)
_JOINS = _SQL["joins"]
# Of all rows, the most that are held out so that the gate has as many as it needs: 20 of 50 rows.
MAX_GROWN_SHARE = 0.4
# Near duplicates and rows of one question are separated where they let less than half of the target rows be held out,
# or more than twice as many.
_TOLERANCE = 2
# What a unit is taken apart into: near duplicates, then questions.
_LEVELS = ("question", "own")
# Of more labels, those that need more rows than the share has stay in training.
ALWAYS_COVERED = 20
# Units that are tried for one label of so many.
_TRIED_FOR_LABEL = 20
# Units that are looked at for the last few rows.
_TRIED = 1000
# Of the rows that share a band, those that later ones are compared with.
_LEADERS = 8


class SplitLabel(NamedTuple):
    """Rows of a label in training, and held out."""

    key: int
    train: int
    held_out: int


@dataclass(frozen=True, slots=True)
class Split:
    """`requested`: rows by the share; `target`: by gate and labels; `held_out`: the result. `copies`: of these, where
    the others are too few. `separated`, `separated_questions`: rows of near duplicates and of one question that were
    not kept together. `labels`: chosen by their share. `unshared`: labels only in training, of one group alone or too
    many. `in_one_split`: of few labels those of several groups that could not be in both."""

    rows: int
    requested: int
    target: int
    held_out: int
    copies: int
    units: int
    separated: int
    separated_questions: int
    classifies: bool
    labels: tuple[SplitLabel, ...]
    unshared: int
    in_one_split: int


def split_rows(keys: Keys, share: float, needed: int, *, by_field: bool) -> Split:
    """Decide which training rows are held out. `needed`: rows for the gate. `by_field`: data.split_group is set."""
    keys.take_labels_of_fields(rank_of_label)
    keys.database.execute("CREATE INDEX split_keys ON train (split_key)")
    # Rows that must stay together, by their split keys: where these are of a field, copies may have different ones.
    _join(keys.database, "groups", keys.database.execute(_JOINS["copies"]).fetchall() if by_field else ())
    # Groups of which one row has the prompt of another, at its end or before: answers to one question, and a dialogue
    # that is written out turn by turn, but a greeting joins none. The view `own` has the group of each row.
    keys.database.execute(_JOINS["own"])
    queries = (_JOINS["same_question"], _JOINS["earlier_question"])
    _join(keys.database, "questions", chain.from_iterable(map(keys.database.execute, queries)))
    _join(keys.database, "near", _near(keys.database))  # groups of `questions` of which rows say nearly the same
    return _Selection(keys, share, needed).run()


def assignments(keys: Keys) -> Iterator[tuple[int, int, bool]]:
    """Line number, offset, and whether it is held out, of each training row in order. After `split_rows`."""
    return keys.database.execute(_SQL["assignments"])


@dataclass(slots=True)
class _Class:
    """A label of several groups: its rows, its units, and how many of them are held out."""

    rows: int
    units: int
    held_out: int = 0

    @property
    def can_spare(self) -> bool:
        return self.units - self.held_out > 1


class _Selection:
    def __init__(self, keys: Keys, share: float, needed: int) -> None:
        self._database, self._rows = keys.database, keys.counts["train"]
        self._needed = needed
        self._requested = self._target = max(1, round(share * self._rows))
        for statement in _SQL["create"]:
            self._database.execute(statement)
        repeated = [LabelCount(*found) for found in self._execute("repeated", self._requested // 2, MAX_LABELS + 1)]
        self._labels: Labels = find_labels(repeated, self._rows, share)
        self._classes: dict[int, _Class] = {}
        self._units = self._units_out = self._held_out = 0

    def _execute(self, name: str, *values: int, **parts: str) -> sqlite3.Cursor:
        """A statement of `split.toml`."""
        return self._database.execute(_SQL[name].format(**parts), values)

    def run(self) -> Split:
        (given,) = self._execute("count_labels").fetchone()
        shared = self._keep_shared_labels()
        separated = {into: self._part(into, "labels_of_one_unit") for into in _LEVELS}
        self._select()
        for limit, into in product((self._target // 2, 0), _LEVELS):
            if self._target <= self._held_out * _TOLERANCE <= self._target * _TOLERANCE**2:
                break
            if rows := self._part(into, "units_above", limit):
                separated[into] += rows
                self._select()
        different = self._grow_for_copies()
        labels = tuple(SplitLabel(*found) for found in self._execute("label_counts"))
        learned = sum(not label.held_out for label in labels)
        left_out = 0 if self._covers_all else learned
        return Split(
            rows=self._rows,
            requested=self._requested,
            target=self._target,
            held_out=self._held_out,
            copies=self._held_out - different if different < self._needed else 0,
            units=self._units,
            separated=separated["question"],
            separated_questions=separated["own"],
            classifies=self._labels.classifies,
            labels=labels,
            unshared=given - len(shared) + left_out if self._labels.classifies else 0,
            in_one_split=learned - left_out,
        )

    def _keep_shared_labels(self) -> list[LabelCount]:
        """Grow to what they need, and forget what is no label of several groups, or too much for the rows."""
        shared = [label for label in self._labels.counts if self._labels.may_share(label)]
        # To what the gate needs, and to one row of each label, as far as the rows allow it.
        for least in (self._needed, len(shared) if self._labels.classifies else 0):
            if self._target < least <= self._rows * MAX_GROWN_SHARE:
                self._target = least
        if self._labels.classifies:
            shared = shared[: self._target]
        self._database.executemany(_SQL["keep_labels"], ((label.key, 0) for label in shared))
        if self._labels.classifies:
            self._execute("pin_rare")
        self._execute("forget_others")
        return shared

    def _grow_for_copies(self) -> int:
        """Rows that are held out without copies, counted up to what the gate needs."""
        while True:
            (different,) = self._execute("different", self._needed).fetchone()
            target = math.ceil(self._target * self._needed / max(1, different))
            if different >= min(self._needed, self._held_out) or target > self._rows * MAX_GROWN_SHARE:
                return int(different)
            self._target = target
            self._select()

    def _part(self, into: str, which: str, *values: int) -> int:
        """Take units apart, into `question` or `own`. How many rows that were."""
        (rows,) = self._execute("rows_of_units", *values, into=into, which=_SQL[which]).fetchone()
        self._execute("part_units", *values, into=into, which=_SQL[which])
        return int(rows)

    def _select(self) -> None:
        for statement in _SQL["clear"]:
            self._database.execute(statement)
        self._units_out = self._held_out = 0
        self._classes = {label: _Class(rows, units) for label, rows, units in self._execute("classes")}
        rarest_first = sorted(self._classes, key=lambda label: (self._classes[label].units, label))
        ranks = ((label, rank) for rank, label in enumerate(rarest_first))
        self._database.executemany(_SQL["keep_labels"], ranks)
        self._execute("fill_units", len(rarest_first))
        (self._units,) = self._execute("count_units").fetchone()
        cover = self._cover if self._covers_all else self._cover_within_target
        for label in rarest_first:
            if not self._classes[label].held_out and self._classes[label].units > 1:
                cover(label)
        self._fill()
        self._top_up()

    def _labels_of(self, unit: int) -> list[int]:
        found = self._execute("labels_of", unit)
        return [label for (label,) in found.fetchall()]

    def _may_take(self, labels: list[int]) -> bool:
        """Whether what is left for training without a unit of these labels still has every label."""
        return self._units - self._units_out > 1 and all(self._classes[label].can_spare for label in labels)

    def _count(self, labels: list[int], rows: int, step: int = 1) -> None:
        for label in labels:
            self._classes[label].held_out += step
        self._units_out += step
        self._held_out += step * rows

    def _take(self, unit: int, rows: int, labels: list[int]) -> None:
        self._count(labels, rows)
        self._execute("take", unit)

    def _give_back(self, unit: int, rows: int, labels: list[int]) -> None:
        self._count(labels, rows, -1)
        self._execute("give_back", unit)

    @property
    def _covers_all(self) -> bool:
        return self._labels.classifies and len(self._classes) <= ALWAYS_COVERED

    def _cover_within_target(self, label: int) -> None:
        """Hold out the unit of the label that brings the most new labels for its rows, if one fits the target."""
        best: tuple[float, int, int, list[int]] | None = None
        for unit, rows in self._execute("units_of_label", label, _TRIED_FOR_LABEL).fetchall():
            labels = self._labels_of(unit)
            gain = sum(not self._classes[one].held_out for one in labels) / rows
            fits = self._held_out + rows <= self._target and self._may_take(labels)
            if fits and (best is None or gain > best[0]):
                best = (gain, unit, rows, labels)
        if best is not None:
            self._take(*best[1:])

    def _cover(self, label: int) -> None:
        """Hold out the first unit of the label that its share has room for, else its smallest."""
        room = max(1, round(self._target * self._classes[label].rows / self._rows))
        smallest: tuple[int, int, list[int]] | None = None
        for unit, rows in self._execute("units_of_label", label, -1):
            if smallest is None or rows < smallest[1]:
                labels = self._labels_of(unit)
                if self._may_take(labels):
                    smallest = (unit, rows, labels)
                    if rows <= room:
                        break
        if smallest is not None:
            self._take(*smallest)
        else:
            self._swap_in(label)

    def _swap_in(self, label: int) -> None:
        """Hold out a unit of the label in the place of others, where it has the last rows of their labels."""
        for unit, rows in self._execute("units_of_label", label, -1).fetchall():
            labels = self._labels_of(unit)
            blocked = [one for one in labels if not self._classes[one].can_spare]
            others = {other for one in blocked if (other := self._replaceable(one, labels)) is not None}
            for other in others:
                self._give_back(*other[:2], list(other[2]))
            if self._may_take(labels):
                self._take(unit, rows, labels)
                if all(self._classes[one].held_out for other in others for one in other[2]):
                    return
                self._give_back(unit, rows, labels)
            for other in others:
                self._take(*other[:2], list(other[2]))

    def _replaceable(self, label: int, labels: list[int]) -> tuple[int, int, tuple[int, ...]] | None:
        """A unit of `label` that is held out and need not be once a unit of `labels` is."""
        for unit, rows in self._execute("held_out_of_label", label).fetchall():
            own = self._labels_of(unit)
            if all(one in labels or self._classes[one].held_out > 1 for one in own):
                return unit, rows, tuple(own)
        return None

    def _fill(self) -> None:
        """Each stratum gives its share of the target; first those that gave more to cover a label."""
        target, rows = self._target, self._rows
        strata = self._execute("strata").fetchall()
        for stratum, of_stratum, have in sorted(
            strata, key=lambda one: (one[2] * rows <= target * one[1], one[1], one)
        ):
            room = round(target * of_stratum / rows) - have
            before = self._held_out
            if room > 0:
                self._database.executemany(_SQL["take"], self._fitting(stratum, room))
            target -= have + self._held_out - before
            rows -= of_stratum

    def _fitting(self, stratum: int, room: int) -> Iterator[tuple[int]]:
        """Units of the stratum by their hash, as long as they fit."""
        labeled = stratum < len(self._classes)
        for unit, rows in self._execute("free_of_stratum", stratum):
            if rows <= room:
                labels = self._labels_of(unit) if labeled else []
                if self._may_take(labels):
                    self._count(labels, rows)
                    room -= rows
                    yield (unit,)
            if not room:
                return

    def _top_up(self) -> None:
        """Units are not as large as one likes: get as close as they allow, and not below what the gate needs."""
        room = self._target - self._held_out
        for unit, rows in self._execute("largest_free", room, _TRIED).fetchall():
            if rows <= self._target - self._held_out:
                self._try(unit, rows)
        for unit, rows in self._execute("smallest_free", _TRIED).fetchall():
            missing = self._target - self._held_out
            short = self._held_out < self._needed and (self._held_out + rows) * 2 <= self._rows
            if missing <= 0 or (self._held_out and not short and rows >= 2 * missing):
                return
            self._try(unit, rows)

    def _try(self, unit: int, rows: int) -> None:
        labels = self._labels_of(unit)
        if self._may_take(labels):
            self._take(unit, rows, labels)


def _join(database: sqlite3.Connection, table: str, pairs: Iterable[tuple[int, int]]) -> None:
    """Make a table of the members of pairs, signed 64-bit integers: all joined are named by a hash of the smallest."""
    database.execute(_JOINS["create"].format(table=table))
    for member, smallest in joined(pairs):
        name = xxh3_64_intdigest(smallest.to_bytes(8, signed=True)) - 2**63
        database.execute(_JOINS["fill"].format(table=table), (member, name))


def _near(database: sqlite3.Connection) -> Iterator[tuple[int, int]]:
    """Pairs of groups to join. Rows that are much alike share several bands: a pair is given once, mostly."""
    given: set[tuple[int, int]] = set()
    for _, entries in groupby(database.execute(_JOINS["shared_bands"]), itemgetter(0)):
        leaders: list[tuple[int, bytes]] = []
        for _, group, low in entries:
            matched = False
            for leader, other in leaders:
                if group == leader or (leader, group) in given:
                    matched = True
                elif similar(low, other):
                    matched = True
                    given.add((leader, group))
                    yield leader, group
            if not matched and len(leaders) < _LEADERS:
                leaders.append((group, low))
