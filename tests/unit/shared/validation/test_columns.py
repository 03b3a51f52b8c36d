"""Parquet and Arrow files as lines of JSON."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

from tests.unit.shared.validation.columns_of import PAIRS, parquet


def test_columns_that_json_has_not_are_texts_and_pictures_are_refused(check, rows) -> None:
    dated = [{**row, "at": datetime(2026, 1, 2, tzinfo=UTC), "none": None} for row in PAIRS]
    checked = check(parquet(dated), rows(20, start=1000))
    assert checked.errors == []
    assert json.loads(checked.train.splitlines()[0])["item"] == {"at": "2026-01-02T00:00:00+00:00", "none": None}
    pictures = [{**row, "image": {"bytes": b"\x89PNG", "path": None}} for row in PAIRS]
    assert check(parquet(pictures)).errors == ["media_not_read"]


def test_messages_of_columns_have_every_key_and_those_that_are_null_lose_nothing(check, rows) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    tool = {"type": "function", "function": {"name": "f"}}
    rows_of_file = [
        {
            "messages": [
                {"role": "user", "content": f"{n}"},
                {"role": "assistant", "content": "", "tool_calls": [call]},
            ],
            "tools": [tool],
        }
        for n in range(60)
    ]
    checked = check(parquet(rows_of_file), rows(20, start=1000))
    assert checked.errors == []
    written = json.loads(checked.train.splitlines()[0])
    assert written["messages"][0] == {"role": "user", "content": "0"}
    assert written["messages"][1]["tool_calls"] == [call]


def test_without_pyarrow_the_error_says_what_is_missing(check, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert check(parquet(PAIRS)).errors == ["columns_need_job"]
