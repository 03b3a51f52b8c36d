"""Rows that belong in one split: of one group, of one question, near duplicates. On disk, in any order."""

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from operator import itemgetter

from xxhash import xxh3_64_intdigest

from shared.domain.beside import read_beside
from shared.validation.content.near_duplicates import similar

_SQL = read_beside(__file__)
# Of the rows that share a band, those that later ones are compared with.
_LEADERS = 8


def _fill(database: sqlite3.Connection, table: str, pairs: Iterable[tuple[int, int]]) -> None:
    """Make a table of the members of pairs, signed integers of 64 bits: all that are joined get the same name.

    The name is a hash of the smallest: units are taken in the order of their names, and the smallest of many is a small
    one. A member takes 100 bytes of memory.
    """
    before: dict[int, int] = {}  # a smaller one that it is joined with

    def root(member: int) -> int:
        while (other := before.get(member)) is not None:
            before[member] = before.get(other, other)  # half as far the next time
            member = other
        return member

    for pair in pairs:
        low, high = sorted(map(root, pair))
        if low != high:
            before[high] = low
    database.execute(_SQL["create"].format(table=table))
    for member in {*before, *before.values()}:
        name = xxh3_64_intdigest(root(member).to_bytes(8, signed=True)) - 2**63
        database.execute(_SQL["fill"].format(table=table), (member, name))


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
    given: set[tuple[int, int]] = set()
    for _, entries in groupby(database.execute(_SQL["shared_bands"]), itemgetter(0)):
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
