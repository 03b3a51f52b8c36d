"""Upgrades as functions; whole states of earlier versions are in tests/simulation/test_earlier_versions.py."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from shared.domain import upgrades
from shared.domain.dataset import Report
from shared.domain.errors import LaterVersion
from shared.domain.upgrades import SCHEMA_VERSION, read_file, upgraded, with_unknown


def renamed(content: dict[str, Any]) -> None:
    if "old" in content:
        content.setdefault("new", content.pop("old"))


@pytest.fixture
def next_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step from this version to the next, for one kind."""
    monkeypatch.setattr(upgrades, "_STEPS", (*upgrades._STEPS, {"run": renamed, "Report": renamed}))


@pytest.mark.usefixtures("next_version")
@pytest.mark.parametrize("version", [SCHEMA_VERSION, None])
def test_content_of_an_earlier_form_gets_the_present_one_and_what_was_given_stays(version: int | None) -> None:
    given = {"old": [1]}
    once = upgraded("run", given, version)
    assert (given, once) == ({"old": [1]}, {"new": [1]})
    assert upgraded("run", once, version) == once  # content without a number may have the present form


@pytest.mark.usefixtures("next_version")
def test_content_of_the_present_form_or_of_a_kind_that_did_not_change_is_left_as_it_is() -> None:
    given = {"old": 1}
    assert upgraded("run", given, SCHEMA_VERSION + 1) is given
    assert upgraded("claim", given, SCHEMA_VERSION) is given


@pytest.mark.parametrize("later", [SCHEMA_VERSION + 1, 99])
def test_content_of_a_later_form_is_not_touched(later: int) -> None:
    with pytest.raises(LaterVersion, match=f"run: schema version {later}"):
        upgraded("run", {}, later)


@pytest.mark.usefixtures("next_version")
def test_content_that_is_nested_too_deeply_to_be_copied_is_a_value_error() -> None:
    nested: dict[str, Any] = {}
    for _ in range(5_000):
        nested = {"in": nested}
    with pytest.raises(ValueError, match="nested too deeply"):
        upgraded("run", nested, SCHEMA_VERSION)


ITEM = {"a": 1, "new": 2}
KEPT: list[tuple[Any, Any, Any, Any]] = [
    ({"a": 1, "new": 2}, {"a": 1}, {"a": 3}, {"a": 3, "new": 2}),
    ({"a": 1, "new": None}, {"a": 1}, {}, {"new": None}),
    ({"a": {"b": 1, "new": 2}}, {"a": {"b": 1}}, {"a": {"b": 5, "c": 6}}, {"a": {"b": 5, "c": 6, "new": 2}}),
    ({"a": {"b": 1, "new": 2}}, {"a": {"b": 1}}, {"a": None}, {"a": None}),
    ({"shares": {"old": 9}}, {"shares": {"old": 9}}, {"shares": {"young": 9}}, {"shares": {"young": 9}}),
    ([ITEM, ITEM], [{"a": 1}, {"a": 1}], [{"a": 1}, {"a": 1}, {"a": 2}], [ITEM, ITEM, {"a": 2}]),
    ([ITEM, ITEM], [{"a": 1}, {"a": 1}], [{"a": 7}, {"a": 1}], [{"a": 7}, ITEM]),
    ([ITEM, ITEM], [{"a": 1}, {"a": 1}], [], []),
    (ITEM, None, {"a": 1}, {"a": 1}),
    (None, None, [1], [1]),
]


@pytest.mark.parametrize(("stored", "read", "changed", "expected"), KEPT)
def test_what_is_not_known_is_kept_where_its_place_is(stored: Any, read: Any, changed: Any, expected: Any) -> None:
    assert with_unknown(stored, read, changed) == expected


@pytest.mark.parametrize("text", [b"", b"{", b"5", b"[]", b"null", b"{}", b"\xff"])
def test_a_file_that_is_no_document_is_a_validation_error(text: bytes) -> None:
    with pytest.raises(ValidationError):
        read_file(Report, text)
