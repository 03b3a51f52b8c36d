"""What the SQLite files promise: several processes, forks and versions."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from shared.domain.errors import PermanentFailure
from shared.ports import Message, Write
from tests.unit.shared.embedded.support import open_bus, open_store, program, receive


def test_processes_that_create_the_file_together_agree(tmp_path: Path) -> None:
    work = """
import os
store = store()
for n in range(20):
    store.batch("run", [Write("create", f"{os.getpid()}-{n}", {"type": "history"})])
store.close()
"""
    with program(tmp_path, work) as one, program(tmp_path, work) as two, program(tmp_path, work) as three:
        assert [process.wait(timeout=120) for process in (one, two, three)] == [0, 0, 0]
    store = open_store(tmp_path)
    assert len(store.list_partition("run", "history")) == 60
    store.close()


def test_parent_and_child_may_both_go_on_after_a_fork(tmp_path: Path) -> None:
    """An inherited connection would carry locks the child does not have and could corrupt the file."""
    store, bus = open_store(tmp_path), open_bus(tmp_path)
    store.batch("run", [Write("create", "before", {"type": "history"})])
    child = os.fork()
    if child == 0:
        try:
            store.batch("run", [Write("create", "child", {"type": "history"})])
            bus.send("orders", [Message("child", "passed", b"")])
            bus.close()
            os._exit(0)
        finally:
            os._exit(1)
    store.batch("run", [Write("create", "parent", {"type": "history"})])
    bus.send("orders", [Message("parent", "passed", b"")])
    assert os.waitpid(child, 0)[1] == 0
    assert len(store.list_partition("run", "history")) == 3
    assert {one.message.id for one in receive(bus)} == {"child", "parent"}
    store.close()
    bus.close()


def test_a_child_keeps_its_writes_when_the_parent_closes_first(tmp_path: Path) -> None:
    """The last one out removes the write-ahead log: the child must count as one who is still in."""
    store = open_store(tmp_path)
    ready, release = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            store.batch("run", [Write("create", "first", {"type": "history"})])
            os.write(ready[1], b"x")
            os.read(release[0], 1)
            store.batch("run", [Write("create", "second", {"type": "history"})])
            os._exit(0)
        finally:
            os._exit(1)
    os.read(ready[0], 1)
    assert store.get("run", "first") is not None
    store.close()
    os.write(release[1], b"x")
    assert os.waitpid(child, 0)[1] == 0
    for end in (*ready, *release):
        os.close(end)
    store = open_store(tmp_path)
    assert [one.document for one in store.list_partition("run", "history")] == [{"type": "history"}] * 2
    store.close()


def test_a_file_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(PermanentFailure, match=r"state\.db has schema version 99, this program needs 1"):
        open_store(tmp_path)
