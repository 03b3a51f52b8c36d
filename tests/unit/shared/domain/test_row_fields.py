"""Fields of a row by their paths."""

from __future__ import annotations

from typing import Any

import pytest

from shared.domain.row_fields import is_missing, value_at

ITEM = {"kind": "odd", "meta": {"machine": "M1", "deep": {"er": 3}}, "meta.machine.name": "own", "none": None}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("kind", "odd"),
        ("meta.machine", "M1"),
        ("meta.deep.er", 3),
        ("meta.machine.name", "own"),
        ("none", None),
        ("meta.gone", "default"),
        ("kind.length", "default"),
        ("none.more", "default"),
        ("", "default"),
    ],
)
def test_a_path_leads_into_objects_and_a_name_with_dots_comes_first(path: str, value: Any) -> None:
    assert value_at(ITEM, path, "default") == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, True), ("", True), (" \n\u00a0", True), (0, False), (False, False), ([], False), ({}, False), ("-", False)],
)
def test_null_and_blank_texts_say_nothing_and_other_values_do(value: Any, expected: bool) -> None:
    assert is_missing({"meta": {"part": value}}, "meta.part") is expected
    assert is_missing({"part": value}, "part") is expected
    assert is_missing({"meta": value}, "meta.part")
