"""Input made to break the validator: it answers with a report, in bounded memory, and quotes nothing."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.dataset import Report
from shared.validation.sink import spooled_sink
from shared.validation.validator import validate
from tests.examples import examples

SECRET = "patient 4711"


def report(train, evaluation=None, recipe=None) -> Report:
    with spooled_sink() as sink:
        return validate(
            train,
            evaluation,
            recipe,
            project="part-codes",
            file_name="train.jsonl",
            default_base_model="droptune/tiny-llama",
            sink=sink,
        ).report


def codes(found: Report) -> set[str]:
    return {problem.code for problem in found.problems}


@examples(150)
@given(st.lists(st.binary(max_size=60), max_size=8), st.none() | st.binary(max_size=60), st.binary(max_size=80))
def test_no_bytes_at_all_make_it_raise(train, evaluation, recipe) -> None:
    found = report(train, None if evaluation is None else [evaluation], recipe)
    assert not found.passed


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["messages", "role", "content", "tool_calls", "function", "weight", "item", "tools"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@examples(80)
@given(st.lists(JSON, min_size=1, max_size=5), JSON)
def test_no_json_makes_it_raise(rows, recipe) -> None:
    lines = [json.dumps(row).encode() + b"\n" for row in rows]
    assert not report(lines, None, json.dumps(recipe).encode()).passed


def row(text: str) -> bytes:
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}]
    return json.dumps({"messages": messages}).encode() + b"\n"


def test_a_decompression_bomb_is_refused_while_it_grows() -> None:
    bomb = gzip.compress(b" " * 100_000_000, compresslevel=9)
    tracemalloc.start()
    found = report([bomb])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "decompression_bomb" in codes(found)
    assert peak < 60_000_000


def test_a_line_without_end_is_never_held_whole() -> None:
    tracemalloc.start()
    found = report(b"x" * 2**20 for _ in range(100))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "row_too_long" in codes(found)
    assert peak < 40_000_000


@pytest.mark.parametrize("depth", [300, 2000, 100_000])
def test_nesting_beyond_the_parsers_depth_is_a_bad_row(depth) -> None:
    deep = b'{"messages": [], "x": ' + b"[" * depth + b"]" * depth + b"}\n"
    assert "invalid_json" in codes(report([deep]))


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(
    "recipe",
    [
        b"a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n",
        b"[" * 5000,
        b"{" * 5000,
        b"use_case: " + b"x" * 100_000,
        b"? [a]\n: b",
        b"use_case: 2024-99-99",
        b"!!python/object/apply:os.system ['true']",
        b"&a [*a]",
        b"use_case: \x00",
        b"\xff\xfe\x00",
    ],
)
def test_a_hostile_recipe_is_one_problem_of_the_recipe(recipe) -> None:
    problems = report([row(str(n)) for n in range(60)], None, recipe).problems
    assert "recipe" in {problem.file for problem in problems}


@pytest.mark.parametrize(
    "bad",
    [
        SECRET.encode() + b"\n",
        json.dumps({"messages": [{"role": SECRET, "content": SECRET, SECRET: SECRET}]}).encode() + b"\n",
        json.dumps({"messages": SECRET, SECRET: 1}).encode() + b"\n",
        row(SECRET) + row(SECRET),
    ],
)
def test_the_report_never_quotes_a_row(bad) -> None:
    assert SECRET not in report([bad, row(SECRET)], [row(SECRET)]).model_dump_json()


@pytest.mark.ci
def test_memory_does_not_grow_with_the_file() -> None:
    def rows(count: int) -> Iterator[bytes]:
        for n in range(count):
            if n == 550:  # 9 MB: from here on the rows are on disk
                tracemalloc.reset_peak()
            yield row(f"{n} " + "x" * 16_000)

    def peak(count: int) -> int:
        tracemalloc.start()
        report(rows(count), [row("held out")])
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    small, more = peak(600), 1_000
    # Of a row of 16 kB its keys; tables of keys are dicts until they are a sixteenth full.
    assert peak(600 + more) < small + more * 1_500
