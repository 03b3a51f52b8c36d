"""Keys of the intake URL, and answers to events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from shared.embedded.clock import SystemClock
from shared.embedded.store import SqliteRunStore
from shared.ports import RunStore
from shared.records import inbound

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return SqliteRunStore(tmp_path / "state.db", SystemClock())


def test_the_newest_two_keys_are_valid_until_they_expire(store: RunStore) -> None:
    keys = [inbound.new_key(store, "shop", "ada", NOW + n * timedelta(seconds=1), 30) for n in range(3)]
    assert len(set(keys)) == 3
    later = NOW + DAY
    assert [inbound.is_valid(store, "shop", key, later) for key in keys] == [False, True, True]
    assert [inbound.is_valid(store, "shop", key, NOW + 31 * DAY) for key in keys] == [False] * 3
    assert not inbound.is_valid(store, "bank", keys[2], later)


def test_the_store_has_no_key(store: RunStore) -> None:
    key = inbound.new_key(store, "shop", "ada", NOW, 30)
    [stored] = store.list_partition("intake:shop", inbound.KEY)
    assert key not in str(stored.document)
    assert key[6:] not in str(stored.document)


def test_whatever_is_no_key_is_not_valid(store: RunStore) -> None:
    key = inbound.new_key(store, "shop", "ada", NOW, 30)
    other = "dtk_2" + key[5:]
    hostile = (
        "",
        "dtk_",
        key[:-1],
        key + "x",
        key.upper(),
        other,
        key[:-1] + "\n",
        "dtk_3" + key[5:],
        "\ud800",
        "ä" * 49,
    )
    assert [one for one in hostile if inbound.is_valid(store, "shop", one, NOW)] == []


def test_the_first_answer_to_an_event_stays(store: RunStore) -> None:
    assert inbound.answer(store, "k") is None
    for run in ("run-1", "run-2"):
        inbound.keep(store, "k", {"run": run}, NOW)
    assert inbound.answer(store, "k") == {"run": "run-1"}
