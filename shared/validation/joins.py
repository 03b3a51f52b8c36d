"""Rows that belong in one split: of one group, of one question, near duplicates. On disk, in any order."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

from xxhash import xxh3_64_intdigest

from shared.validation.content.near_duplicates import similar
from shared.validation.content.slots import Slots

# Of the rows that share a band, those that later ones are compared with.
_LEADERS = 8
_PART_ROWS = 10_000
_PAIRS_BITS = 17
_COPIES = """
SELECT first, split_key FROM train JOIN
    (SELECT content_key, min(split_key) AS first FROM train GROUP BY content_key
     HAVING min(split_key) <> max(split_key)) USING (content_key)"""
_OWN = """
CREATE VIEW own AS SELECT place, prompt, coalesce(root, split_key) AS own
FROM train LEFT JOIN groups ON member = split_key"""
# Rows that end with the same question, and rows in which it comes earlier.
_SAME_QUESTION = """
SELECT first, own FROM own JOIN (
    SELECT prompt, min(own) AS first FROM own WHERE prompt <> 0 GROUP BY prompt HAVING min(own) <> max(own)
) USING (prompt)
WHERE first <> own"""
_EARLIER_QUESTION = """
SELECT first, own FROM
    (SELECT first, place FROM train_turns JOIN
        (SELECT prompt, min(own) AS first FROM own WHERE prompt <> 0 GROUP BY prompt) USING (prompt)
     WHERE prompt NOT IN (SELECT prompt FROM openings))
JOIN own USING (place) WHERE first <> own"""
# Ordered by what rows say, so that the order of the rows in the file does not matter.
_SHARED_BANDS = """
SELECT value, coalesce(root, own), low FROM bands
JOIN (SELECT value FROM bands GROUP BY value HAVING count(*) > 1) USING (value)
JOIN train USING (place) JOIN own USING (place) LEFT JOIN questions ON member = own
ORDER BY value, content_key"""

_CREATE = "CREATE TABLE {table} (member INTEGER PRIMARY KEY, root INTEGER)"
_JOIN = "INSERT INTO {table} VALUES (?, ?)"
_ROOT = "SELECT root FROM {table} WHERE member = ?"
_MEMBERS = "SELECT member FROM {table} WHERE member > ? ORDER BY member LIMIT ?"
_SET_ROOT = "UPDATE {table} SET root = ? WHERE member = ?"
_ADD_ROOTS = "INSERT INTO {table} SELECT DISTINCT root, root FROM {table}"
_NAME_ROOTS = "UPDATE {table} SET root = name_of(root)"


class Joins:
    """A table of members and the smallest member they are joined with, all of which are signed integers of 64 bits."""

    def __init__(self, database: sqlite3.Connection, table: str) -> None:
        self._database, self._table = database, table
        database.create_function("name_of", 1, _name_of, deterministic=True)
        self._execute(_CREATE)

    def _execute(self, statement: str, *values: int) -> sqlite3.Cursor:
        return self._database.execute(statement.format(table=self._table), values)

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self._root(one), self._root(other)))
        if low != high:
            self._execute(_JOIN, high, low)

    def _root(self, member: int) -> int:
        while found := self._execute(_ROOT, member).fetchone():
            (member,) = found
        return member

    def finish(self) -> None:
        """Every member gets the same name as those it is joined with.

        The name is a hash: units are taken in the order of their names, and the smallest of many is a small one.
        """
        for member in self._members():
            self._execute(_SET_ROOT, self._root(member), member)
        self._execute(_ADD_ROOTS)
        self._execute(_NAME_ROOTS)

    def _members(self) -> Iterator[int]:
        """In parts, for the table is changed on the way."""
        last = -(2**63)
        while part := self._execute(_MEMBERS, last, _PART_ROWS).fetchall():
            for (last,) in part:
                yield last


def _name_of(root: int) -> int:
    return xxh3_64_intdigest(root.to_bytes(8, signed=True)) - 2**63


def join_groups(database: sqlite3.Connection, *, copies_apart: bool) -> None:
    """Fill the table `groups` with rows that must stay together, by their split keys.

    `copies_apart`: split keys are of a field, so copies may have different ones.
    """
    joins = Joins(database, "groups")
    if copies_apart:
        for first, other in database.execute(_COPIES).fetchall():
            joins.join(first, other)
    joins.finish()


def join_questions(database: sqlite3.Connection) -> None:
    """Fill the table `questions` with groups of which one row has the prompt of another, at its end or before.

    So the answers to one question stay together, and so does a dialogue that is written out turn by turn. A greeting
    joins no dialogues. The view `own` has the group of each row.
    """
    joins = Joins(database, "questions")
    database.execute(_OWN)
    for query in (_SAME_QUESTION, _EARLIER_QUESTION):
        for first, other in database.execute(query):
            joins.join(first, other)
    joins.finish()


def join_near_duplicates(database: sqlite3.Connection) -> None:
    """Fill the table `near` with groups of `questions` of which rows say nearly the same."""
    joins = Joins(database, "near")
    for one, other in _near(database):
        joins.join(one, other)
    joins.finish()


def _near(database: sqlite3.Connection) -> Iterator[tuple[int, int]]:
    """Pairs of groups to join. Rows that are much alike share several bands: a pair is given once, mostly."""
    given = Slots(_PAIRS_BITS)
    for _, entries in groupby(database.execute(_SHARED_BANDS), itemgetter(0)):
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
