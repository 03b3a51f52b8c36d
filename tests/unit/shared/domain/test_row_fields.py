"""Fields of a row by their paths."""

from __future__ import annotations

from typing import Any

import pytest

from shared.domain.row_fields import value_at

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
