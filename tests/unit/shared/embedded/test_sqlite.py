"""What the SQLite files promise: several processes and versions."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from shared.embedded.sqlite import Database
from shared.ports import Write
from tests.paths import ROOT
from tests.unit.shared.embedded.support import open_store, program


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


def first_version(path: Path) -> None:
    """The file as the first version of the program wrote it, with a document of each kind of time to live."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript((ROOT / "tests" / "golden" / "state" / "version-1.sql").read_text())


def test_a_file_of_the_first_version_gets_its_indexes_and_keeps_its_documents(tmp_path: Path) -> None:
    first_version(tmp_path / "state.db")
    store = open_store(tmp_path)
    assert [one.document["run_id"] for one in store.query("run", {"status": "deployed"})[0]] == ["run-1"]
    store.batch("run-1", [Write("create", "later", {"type": "history"})])
    store.close()
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (4,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_migrated_file_has_the_tables_of_a_new_one(tmp_path: Path) -> None:
    first_version(tmp_path / "state.db")
    found = []
    for folder in (tmp_path, tmp_path / "new"):
        open_store(folder).close()
        with closing(sqlite3.connect(folder / "state.db")) as connection:
            rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
            found.append([(name, " ".join(sql.split())) for name, sql in rows])
    assert found[0] == found[1]


@pytest.mark.ci
def test_processes_that_migrate_the_file_together_agree(tmp_path: Path) -> None:
    first_version(tmp_path / "state.db")
    work = "store().close()"
    with program(tmp_path, work) as one, program(tmp_path, work) as two, program(tmp_path, work) as three:
        assert [process.wait(timeout=120) for process in (one, two, three)] == [0, 0, 0]


def test_a_migration_that_is_killed_halfway_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    def steps(last: str) -> list[list[str]]:
        return [["CREATE TABLE a (x)"], ["CREATE TABLE b (x)", last]]

    with pytest.raises(sqlite3.OperationalError):
        Database(tmp_path / "file.db", steps("CREATE TABLE a (x)"))
    database = Database(tmp_path / "file.db", steps("CREATE TABLE c (x)"))
    with database.read() as connection:
        assert connection.execute("SELECT name FROM sqlite_master ORDER BY name").fetchall() == [("a",), ("b",), ("c",)]
    database.close()


def test_a_file_of_a_newer_version_is_used_as_it_is(tmp_path: Path) -> None:
    """Steps only add: two versions of the program share a file, and a step back works."""
    open_store(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        connection.execute("CREATE TABLE later (x)")
        connection.execute("PRAGMA user_version = 99")
    store = open_store(tmp_path)
    store.batch("run", [Write("create", "one", {"type": "history"})])
    store.close()
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (99,)
