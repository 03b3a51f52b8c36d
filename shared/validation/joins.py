"""Rows that belong in one split: of one group, of one question, near duplicates. On disk, in any order."""

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from operator import itemgetter

from xxhash import xxh3_64_intdigest

from shared.domain.beside import read_beside
from shared.validation.content.near_duplicates import similar
from shared.validation.content.slots import Slots

_SQL = read_beside(__file__)
# Of the rows that share a band, those that later ones are compared with.
_LEADERS = 8
_PART_ROWS = 10_000
_PAIRS_BITS = 17


class Joins:
    """A table of members and the smallest member they are joined with, all of which are signed integers of 64 bits."""

    def __init__(self, database: sqlite3.Connection, table: str) -> None:
        self._database, self._table = database, table
        database.create_function("name_of", 1, _name_of, deterministic=True)
        self._execute("create")

    def _execute(self, name: str, *values: int) -> sqlite3.Cursor:
        return self._database.execute(_SQL[name].format(table=self._table), values)

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self._root(one), self._root(other)))
        if low != high:
            self._execute("join", high, low)

    def _root(self, member: int) -> int:
        while found := self._execute("root", member).fetchone():
            (member,) = found
        return member

    def finish(self) -> None:
        """Every member gets the same name as those it is joined with.

        The name is a hash: units are taken in the order of their names, and the smallest of many is a small one.
        """
        for member in self._members():
            self._execute("set_root", self._root(member), member)
        self._execute("add_roots")
        self._execute("name_roots")

    def _members(self) -> Iterator[int]:
        """In parts, for the table is changed on the way."""
        last = -(2**63)
        while part := self._execute("members", last, _PART_ROWS).fetchall():
            for (last,) in part:
                yield last


def _name_of(root: int) -> int:
    return xxh3_64_intdigest(root.to_bytes(8, signed=True)) - 2**63


def _fill(database: sqlite3.Connection, table: str, pairs: Iterable[tuple[int, int]]) -> None:
    joins = Joins(database, table)
    for one, other in pairs:
        joins.join(one, other)
    joins.finish()


def join_groups(database: sqlite3.Connection, *, copies_apart: bool) -> None:
    """Fill the table `groups` with rows that must stay together, by their split keys.

    `copies_apart`: split keys are of a field, so copies may have different ones.
    """
    _fill(database, "groups", database.execute(_SQL["copies"]).fetchall() if copies_apart else ())


def join_questions(database: sqlite3.Connection) -> None:
    """Fill the table `questions` with groups of which one row has the prompt of another, at its end or before.

    So the answers to one question stay together, and so does a dialogue that is written out turn by turn. A greeting
    joins no dialogues. The view `own` has the group of each row.
    """
    database.execute(_SQL["own"])
    queries = (_SQL["same_question"], _SQL["earlier_question"])
    _fill(database, "questions", chain.from_iterable(map(database.execute, queries)))


def join_near_duplicates(database: sqlite3.Connection) -> None:
    """Fill the table `near` with groups of `questions` of which rows say nearly the same."""
    _fill(database, "near", _near(database))


def _near(database: sqlite3.Connection) -> Iterator[tuple[int, int]]:
    """Pairs of groups to join. Rows that are much alike share several bands: a pair is given once, mostly."""
    given = Slots(_PAIRS_BITS)
    for _, entries in groupby(database.execute(_SQL["shared_bands"]), itemgetter(0)):
        leaders: list[tuple[int, bytes]] = []
        for _, group, low in entries:
            matched = False
            for leader, other in leaders:
                pair = hash((leader, group))
                if group == leader or given.get(pair) is not None:
                    matched = True
                elif similar(low, other):
                    matched = True
                    given.put(pair, 1)
                    yield leader, group
            if not matched and len(leaders) < _LEADERS:
                leaders.append((group, low))
