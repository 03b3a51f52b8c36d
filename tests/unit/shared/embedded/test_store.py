"""What only the embedded store promises: its file, and sudden death."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from shared.domain.errors import PermanentFailure, UnreadableDocument
from shared.embedded.store import SqliteRunStore, query_of
from shared.ports import Services, Write
from shared.ports.store import FILTERS, cursor_of
from shared.records import api_objects
from shared.records.api_objects import File
from shared.runner import Runner
from tests.clock import ManualClock
from tests.unit.shared.embedded.support import accepted_before_kill, open_store


def test_batches_accepted_before_kill_9_are_stored_whole(tmp_path: Path) -> None:
    accepted = accepted_before_kill(
        tmp_path,
        """
store, n = store(), 0
while True:
    names = [f"{n:06}-{part}" for part in range(3)]
    store.batch("run", [Write("create", name, {"type": "history"}) for name in names])
    print(n, flush=True)
    n += 1
""",
    )
    store = open_store(tmp_path)
    count = len(store.list_partition("run", "history"))
    # At most the batch in flight was stored without being reported, and none in part.
    assert count in (3 * len(accepted), 3 * len(accepted) + 3)
    store.close()


@pytest.mark.parametrize("after", [None, cursor_of("2026-01-01T00:00:00Z", "run", "run-1")])
@pytest.mark.parametrize("fields", FILTERS)
def test_a_query_reads_what_it_finds_in_the_order_of_an_index(
    tmp_path: Path, fields: tuple[str, ...], after: str | None
) -> None:
    open_store(tmp_path).close()
    sql, values = query_of("run", dict.fromkeys(fields, "x"), 10, after)
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        plan = [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + sql, {**values, "now": 0})]
    used = "".join(["type=?", *(" AND <expr>=?" for _ in fields), *([" AND created_at<?"] if after else [])])
    assert plan == [f"SEARCH documents USING INDEX documents_by_{'_'.join(fields) or 'type'} ({used})"]


def test_rows_that_expired_go_a_few_with_each_batch(tmp_path: Path) -> None:
    clock = ManualClock()
    store = SqliteRunStore(tmp_path / "state.db", clock)
    for n in range(6):
        store.batch(f"run-{n}", [Write("create", f"{m}", {"type": "inbox"}, ttl_s=60) for m in range(100)])
    clock.advance(61)

    def left() -> int:
        with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
            return int(connection.execute("SELECT count(*) FROM documents WHERE type = 'inbox'").fetchone()[0])

    counts = []
    for n in range(3):
        store.batch("other", [Write("create", f"{n}", {"type": "history"})])
        counts.append(left())
    assert counts == [400, 200, 0]
    store.close()


@pytest.mark.parametrize("body", ["[]", "5", "null", '"x"', '{"a": ' + "1" * 5000 + "}", "[" * 900 + "]" * 900])
def test_a_body_that_is_no_object_is_named_beside_the_others_and_can_be_released(services: Services, body: str) -> None:
    """SQLite takes no text that is not JSON there: an index reads it."""
    for id in ("file-1", "file-2", "file-3"):
        made = File(id=id, bytes=1, created_at=1, filename="a")
        api_objects.create(services.store, made, services.clock.now())
    assert isinstance(services.store, SqliteRunStore)
    with services.store._database.write() as connection:
        connection.execute("UPDATE documents SET body = ? WHERE partition = 'file-2'", (body,))
    unreadable: list[UnreadableDocument] = []
    assert {found.id for found in api_objects.every(services.store, File, unreadable)} == {"file-1", "file-3"}
    assert [(one.type, one.partition, one.id) for one in unreadable] == [("file", "file-2", "file")]
    with pytest.raises(PermanentFailure, match="unreadable_document"):
        api_objects.load(services.store, File, "file-2")
    released = Runner(services).release_unreadable("file-2", "file", "ada")
    assert released is not None
    assert json.loads(b"".join(services.blobs.read(released[0])))["document"]["text"] == body
    assert api_objects.load(services.store, File, "file-2") is None
