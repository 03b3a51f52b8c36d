"""What only the embedded implementations promise: their files, other processes, sudden death."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from shared.domain.errors import BlobNotFound, InvalidInput, PermanentFailure, StoreConflict
from shared.embedded.blobs import FileBlobStore
from shared.embedded.bus import SqliteEventBus
from shared.embedded.clock import SystemClock, from_microseconds, to_microseconds
from shared.embedded.store import SqliteRunStore
from shared.ports import Message, ReceivedMessage, Write
from tests.clock import ManualClock
from tests.contract.topology import TOPOLOGY
from tests.paths import ROOT

OPEN = """
import sys
from shared.embedded.blobs import FileBlobStore
from shared.embedded.bus import SqliteEventBus
from shared.embedded.clock import SystemClock
from shared.embedded.store import SqliteRunStore
from shared.ports import Message, Write
from tests.contract.topology import TOPOLOGY
folder = sys.argv[1]
def store(): return SqliteRunStore(folder + "/state.db", SystemClock())
def bus(): return SqliteEventBus(folder + "/bus.db", TOPOLOGY, SystemClock())
def blobs(): return FileBlobStore(folder + "/blobs")
"""


@contextmanager
def program(folder: Path, code: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs `code` on the stores in `folder`."""
    with subprocess.Popen(
        [sys.executable, "-c", OPEN + code, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def accepted_before_kill(folder: Path, code: str, lines: int = 150) -> list[str]:
    """Run `code`, which prints a line per accepted call for ever; SIGKILL it in the middle; its lines."""
    with program(folder, code) as process:
        assert process.stdout is not None
        accepted = [process.stdout.readline().strip() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        accepted += process.stdout.read().split("\n")[:-1]
        assert process.wait() == -signal.SIGKILL
    assert "" not in accepted
    return accepted


def open_store(folder: Path) -> SqliteRunStore:
    return SqliteRunStore(folder / "state.db", SystemClock())


def open_bus(folder: Path) -> SqliteEventBus:
    return SqliteEventBus(folder / "bus.db", TOPOLOGY, SystemClock())


def receive(bus: SqliteEventBus, wait_s: float = 0) -> list[ReceivedMessage]:
    return bus.receive("orders", max_messages=100_000, wait_s=wait_s)


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


def test_messages_accepted_before_kill_9_are_delivered_in_order(tmp_path: Path) -> None:
    accepted = accepted_before_kill(
        tmp_path,
        """
bus, n = bus(), 0
while True:
    bus.send("orders", [Message(f"m{n}", "passed", b"x" * 1000)])
    print(f"m{n}", flush=True)
    n += 1
""",
    )
    bus = open_bus(tmp_path)
    received = [one.message.id for one in receive(bus)]
    assert received[: len(accepted)] == accepted
    assert len(received) - len(accepted) <= 1
    bus.close()


def test_what_was_completed_before_kill_9_is_not_delivered_again(tmp_path: Path) -> None:
    bus = open_bus(tmp_path)
    bus.send("orders", [Message(f"m{n}", "passed", b"") for n in range(2000)])
    completed = accepted_before_kill(
        tmp_path,
        """
bus = bus()
while True:
    [one] = bus.receive("orders", max_messages=1, wait_s=5)
    bus.complete(one)
    print(one.message.id, flush=True)
""",
    )
    remaining = bus.depth("orders")
    assert 2000 - len(completed) - remaining in (0, 1)
    assert not {one.message.id for one in receive(bus)} & set(completed)
    bus.close()


def test_blobs_accepted_before_kill_9_are_whole(tmp_path: Path) -> None:
    accepted = accepted_before_kill(
        tmp_path,
        """
blobs, n = blobs(), 0
while True:
    blobs.write("runs/model", [bytes([n % 256]) * 4096] * 50)
    print(n % 256, flush=True)
    n += 1
""",
        lines=20,
    )
    content = b"".join(FileBlobStore(tmp_path / "blobs").read("runs/model"))
    last = int(accepted[-1])
    assert content in (bytes([last]) * 204_800, bytes([(last + 1) % 256]) * 204_800)


def test_locks_and_schedules_survive_the_process_that_made_them(tmp_path: Path) -> None:
    clock = ManualClock()
    first = SqliteEventBus(tmp_path / "bus.db", TOPOLOGY, clock)
    due = clock.now() + timedelta(seconds=9)
    first.send("orders", [Message("held", "passed", b""), Message("later", "passed", b"", scheduled_at=due)])
    [held] = receive(first)
    first.close()
    second = SqliteEventBus(tmp_path / "bus.db", TOPOLOGY, clock)
    assert receive(second) == []  # closing released nothing
    second.complete(second.renew_lock(held))  # the token is all it takes
    clock.advance(10)
    [later] = receive(second)
    assert (later.message.id, later.enqueued_at, later.message.scheduled_at) == ("later", due, due)
    second.close()


def test_processes_share_a_queue_and_no_message(tmp_path: Path) -> None:
    work = """
bus = bus()
while received := bus.receive("orders", max_messages=5, wait_s=1):
    for one in received:
        bus.complete(one)
        print(one.message.id, one.delivery_count)
"""
    bus = open_bus(tmp_path)
    with program(tmp_path, work) as one, program(tmp_path, work) as other:
        for n in range(300):
            bus.send("orders", [Message(f"m{n}", "passed", b"")])
        outputs = [process.communicate(timeout=60)[0].split("\n")[:-1] for process in (one, other)]
    assert sorted(outputs[0] + outputs[1]) == sorted(f"m{n} 1" for n in range(300))
    assert bus.depth("orders") == 0
    bus.close()


def test_processes_that_create_the_file_together_agree(tmp_path: Path) -> None:
    work = """
import os
store = store()
for n in range(20):
    store.batch("run", [Write("create", f"{os.getpid()}-{n}", {"type": "history"})])
store.close()
"""
    with program(tmp_path, work) as one, program(tmp_path, work) as two, program(tmp_path, work) as three:
        assert [process.wait(timeout=60) for process in (one, two, three)] == [0, 0, 0]
    store = open_store(tmp_path)
    assert len(store.list_partition("run", "history")) == 60
    store.close()


def test_a_message_of_another_process_is_noticed_soon(tmp_path: Path) -> None:
    bus = open_bus(tmp_path)
    with program(tmp_path, 'bus().send("orders", [Message("m1", "passed", b"")])'):
        [received] = receive(bus, wait_s=20)
    assert received.message.id == "m1"
    bus.close()


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


def test_closing_ends_a_wait_and_refuses_what_comes_later(tmp_path: Path) -> None:
    bus = open_bus(tmp_path)
    got: list[list[ReceivedMessage]] = []
    receiver = threading.Thread(target=lambda: got.append(receive(bus, wait_s=30)))
    receiver.start()
    time.sleep(0.1)
    bus.close()
    bus.close()
    receiver.join(timeout=5)
    assert got == [[]]
    with pytest.raises(RuntimeError, match=r"bus\.db is closed"):
        bus.depth("orders")


def test_a_file_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(PermanentFailure, match=r"state\.db has schema version 99, this program needs 1"):
        open_store(tmp_path)


def test_a_file_dropped_with_cp_is_a_blob(tmp_path: Path) -> None:
    blobs = FileBlobStore(tmp_path)
    (tmp_path / "datasets" / "acme").mkdir(parents=True)
    (tmp_path / "datasets" / "acme" / "train.jsonl").write_bytes(b"{}\n")
    [found] = blobs.list("datasets/")
    assert found.path == "datasets/acme/train.jsonl"
    assert b"".join(blobs.read(found.path, etag=found.etag)) == b"{}\n"


def test_a_blob_is_a_file_that_a_job_can_open(tmp_path: Path) -> None:
    FileBlobStore(tmp_path).write("runs/r1/result.json", [b"{}"])
    assert (tmp_path / "runs" / "r1" / "result.json").read_bytes() == b"{}"


def test_no_writer_leaves_a_temporary_file(tmp_path: Path) -> None:
    blobs = FileBlobStore(tmp_path)
    blobs.write("runs/a", [b"x"])
    blobs.write("runs/b", [b"x"], if_absent=True)
    with pytest.raises(StoreConflict, match="blob runs/b was changed"):
        blobs.write("runs/b", [b"x"], if_absent=True)
    with pytest.raises(ZeroDivisionError):
        blobs.write("runs/c", (b"x" * (1 // n) for n in (1, 0)))
    assert list((tmp_path / ".tmp").iterdir()) == []


def test_files_that_are_hidden_linked_or_in_no_container_are_not_listed(tmp_path: Path) -> None:
    root = tmp_path / "blobs"
    blobs = FileBlobStore(root)
    blobs.write("runs/seen", [b"x"])
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    for hidden in (root / ".tmp" / "part", root / "runs" / ".part", root / "stray", root / "runs" / "a\\b"):
        hidden.write_bytes(b"x")
    (root / "runs" / "folder").symlink_to(outside)
    (root / "runs" / "file").symlink_to(outside / "secret")
    assert [one.path for one in blobs.list("")] == ["runs/seen"]
    for path in ("runs/folder/secret", "runs/file"):
        with pytest.raises(InvalidInput, match="bad_blob_path: "):
            blobs.read(path)
        with pytest.raises(InvalidInput, match="bad_blob_path: "):
            blobs.write(path, [b"overwritten"])
    assert (outside / "secret").read_bytes() == b"secret"


def test_a_file_overwritten_in_place_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    blobs = FileBlobStore(tmp_path)
    blobs.write("runs/a", [b"a" * 3_000_000])
    chunks = blobs.read("runs/a")
    assert next(iter(chunks))[:1] == b"a"
    (tmp_path / "runs" / "a").write_bytes(b"b" * 3_000_000)
    with pytest.raises(StoreConflict, match="blob runs/a was changed by another writer"):
        b"".join(chunks)


def test_a_blob_deleted_before_its_first_chunk_is_not_found(tmp_path: Path) -> None:
    blobs = FileBlobStore(tmp_path)
    blobs.write("runs/a", [b"a"])
    chunks = blobs.read("runs/a")
    blobs.delete("runs/a")
    with pytest.raises(BlobNotFound, match="no blob at runs/a"):
        b"".join(chunks)


@pytest.mark.parametrize("if_absent", [False, True])
def test_a_blob_cannot_be_a_folder_too(tmp_path: Path, if_absent: bool) -> None:
    blobs = FileBlobStore(tmp_path)
    blobs.write("runs/a/b", [b"x"])
    for path in ("runs/a", "runs/a/b/c"):
        with pytest.raises(InvalidInput, match=f"blob_name_taken: {path} is a folder or lies below"):
            blobs.write(path, [b"y"], if_absent=if_absent)
    blobs.delete("runs/a")
    assert [one.path for one in blobs.list("runs/")] == ["runs/a/b"]


def test_what_killed_writers_left_is_removed_a_day_later(tmp_path: Path) -> None:
    FileBlobStore(tmp_path)
    old, new = tmp_path / ".tmp" / "old", tmp_path / ".tmp" / "new"
    for file in (old, new):
        file.write_bytes(b"part")
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    FileBlobStore(tmp_path)
    assert list((tmp_path / ".tmp").iterdir()) == [new]


def test_microseconds_keep_a_moment_exactly() -> None:
    now = SystemClock().now()
    assert from_microseconds(to_microseconds(now)) == now
    assert now.utcoffset() == timedelta(0)
