"""A million lines made by breaking good ones: a report each time, and the row is refused or it is what JSON says."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest

from shared.validation import codes
from shared.validation.rows import read_row
from tests.hostile.lines import LINES, USER, chat

SEED = 20
LINES_MADE = 1_000_000
PARTS = [b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\0", b"\xff", b"\xc3", b"e9", b"-", b"1", b" ", b"\\u00"]
GOOD = [
    chat(USER, {"role": "assistant", "content": 'a "bolt": 1\n'}),
    chat(USER, {"role": "assistant", "content": "né", "weight": 1}, fault="pump", size=1.5),
]


def mutants(count: int) -> Iterator[bytes]:
    chance = random.Random(SEED)
    seeds = GOOD * 200 + [line for line, _ in LINES.values() if len(line) < 300]
    for _ in range(count):
        line = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(0, 3)):
            start = chance.randrange(len(line) + 1)
            end = min(len(line), start + chance.choice((0, 0, 1, 1, 2, 9)))
            line[start:end] = chance.choice(PARTS) if chance.random() < 0.7 else line[end : end + 9]
        yield bytes(line).replace(b"\n", b"")


def check(count: int) -> None:
    kept = 0
    for line in mutants(count):
        row, codes_found = read_row(line)
        found = {one.partition("|")[0] for one in codes_found}
        assert set(found) <= codes.CODES.keys(), line
        if row is None:
            assert found, line
        else:
            kept += 1
            source, canonical = json.loads(line), json.loads(row.canonical)
            assert [m["role"] for m in canonical["messages"]] == [
                m["role"].replace("developer", "system") for m in source["messages"]
            ]
            assert [m["content"] for m in canonical["messages"]] == [m.get("content") or "" for m in source["messages"]]
    assert 0.1 < kept / count < 0.9


def test_fuzzed_lines_are_refused_with_a_code_or_read_as_json_has_them() -> None:
    check(20_000)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_million_fuzzed_lines_are_refused_with_a_code_or_read_as_json_has_them() -> None:
    check(LINES_MADE)
