"""One event for each dropped blob, none before it is whole, none twice."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from local_stack.host import DropWatcher
from shared.domain.errors import InvalidInput
from shared.embedded.blobs import FileBlobStore
from shared.embedded.bus import SqliteEventBus
from shared.embedded.clock import SystemClock
from shared.ports import BlobInfo, EventBus, Message, Publisher
from tests.clock import JUMPS, ManualClock
from tests.unit.local_stack.functions_host.support import TOPOLOGY, eventually

UNCHANGED_S = 10.0


class WatchedFolder(FileBlobStore):
    """Counts how often the watcher looked."""

    polls = 0

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        self.polls += 1
        return super().list(prefix)


@dataclass
class Watch:
    """Watchers of one drop zone. Their time moves in `pass_time` only, so a stalled machine posts nothing early."""

    root: Path
    bus: EventBus
    clock: ManualClock = field(default_factory=ManualClock)
    watchers: list[DropWatcher] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.blobs = WatchedFolder(self.root / "blobs")

    def start(self, bus: Publisher | None = None) -> DropWatcher:
        watcher = DropWatcher(
            self.blobs,
            bus or self.bus,
            self.root / "state" / "drops.db",
            self.clock,
            unchanged_s=UNCHANGED_S,
            poll_s=0.02,
        )
        self.watchers.append(watcher)
        watcher.start()
        return watcher

    def poll(self) -> None:
        """Return once the watcher has looked at all that is there now."""
        first = self.blobs.polls
        eventually(lambda: self.blobs.polls >= first + 2)

    def pass_time(self, seconds: float = UNCHANGED_S) -> None:
        """Let it look, `seconds` pass, and it look again."""
        self.poll()
        self.clock.advance(seconds)
        self.poll()

    def events(self) -> list[dict[str, Any]]:
        found = self.bus.receive("storage-events", max_messages=10, wait_s=0)
        for one in found:
            self.bus.complete(one)
            assert one.message.subject == "Microsoft.Storage.BlobCreated"
            assert one.message.id == json.loads(one.message.body)["id"]
        return [json.loads(one.message.body) for one in found]


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[SqliteEventBus]:
    bus = SqliteEventBus(tmp_path / "bus.db", TOPOLOGY, SystemClock())
    yield bus
    bus.close()


@pytest.fixture
def drop_zone(tmp_path: Path) -> Path:
    folder = tmp_path / "blobs" / "datasets" / "clinic"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def watch(tmp_path: Path, drop_zone: Path, bus: SqliteEventBus) -> Iterator[Watch]:
    watch = Watch(tmp_path, bus)
    yield watch
    for watcher in watch.watchers:
        watcher.stop()


def test_a_file_copied_slowly_makes_one_event_once_it_is_whole(watch: Watch, drop_zone: Path) -> None:
    watch.start()
    with (drop_zone / "train set.jsonl").open("w") as stream:
        for _ in range(4):
            stream.write("{}\n")
            stream.flush()
            watch.pass_time(UNCHANGED_S - 1)
            assert watch.events() == []
    watch.pass_time(1)
    [event] = watch.events()
    assert event["specversion"] == "1.0"
    assert event["type"] == "Microsoft.Storage.BlobCreated"
    assert event["source"].endswith("/Microsoft.Storage/storageAccounts/local")
    assert event["subject"] == "/blobServices/default/containers/datasets/blobs/clinic/train set.jsonl"
    data = event["data"]
    assert data["contentLength"] == 12
    assert data["url"].endswith("/datasets/clinic/train%20set.jsonl")
    assert data["blobType"] == "BlockBlob"
    assert data["eTag"]
    watch.pass_time()
    assert watch.events() == []


def test_a_changed_file_makes_a_second_event_and_a_restart_none(watch: Watch, drop_zone: Path) -> None:
    watcher = watch.start()
    file = drop_zone / "train.jsonl"
    file.write_text("{}\n")
    watch.pass_time()
    [first] = watch.events()
    file.write_text("{}\n{}\n")
    watch.pass_time()
    [second] = watch.events()
    assert second["id"] != first["id"]
    assert second["data"]["eTag"] != first["data"]["eTag"]
    assert second["data"]["sequencer"] > first["data"]["sequencer"]

    watcher.stop()
    watch.start()
    watch.pass_time()
    assert watch.events() == []


def test_what_was_dropped_while_the_watcher_was_away_is_found(watch: Watch, drop_zone: Path) -> None:
    (drop_zone / "train.jsonl").write_text("{}\n")
    watch.start()
    watch.pass_time()
    assert len(watch.events()) == 1


def test_hidden_files_and_folders_make_no_event(watch: Watch, drop_zone: Path) -> None:
    watch.start()
    (drop_zone / ".train.jsonl.swp").write_text("x")
    (drop_zone.parent / ".cache").mkdir()
    (drop_zone.parent / ".cache" / "train.jsonl").write_text("x")
    (drop_zone / "seen.jsonl").write_text("{}\n")
    watch.pass_time()
    [event] = watch.events()
    assert event["subject"].endswith("/clinic/seen.jsonl")


def test_a_file_that_went_and_came_back_is_a_new_drop(watch: Watch, drop_zone: Path) -> None:
    watch.start()
    file = drop_zone / "train.jsonl"
    file.write_text("{}\n")
    aside = drop_zone.parents[2] / "aside"
    watch.pass_time()
    assert len(watch.events()) == 1
    file.rename(aside)
    watch.poll()
    aside.rename(file)  # the same bytes, time and inode: the same etag
    watch.pass_time()
    assert len(watch.events()) == 1


def test_an_event_that_could_not_be_sent_is_sent_later(
    watch: Watch, drop_zone: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class AwayOnce:
        """The bus, which cannot be reached at first."""

        failures = iter([RuntimeError("away")])

        def send(self, destination: str, messages: Sequence[Message]) -> None:
            for failure in self.failures:
                raise failure
            watch.bus.send(destination, messages)

    (drop_zone / "train.jsonl").write_text("{}\n")
    watch.start(AwayOnce())
    watch.pass_time()
    watch.pass_time()  # it begins again, and sees the file as new
    assert "drop-watcher failed and begins again" in caplog.text
    assert len(watch.events()) == 1


BROKEN: dict[str, Exception | None] = {
    "refused": InvalidInput("message_too_large", "300000 bytes"),
    "a bug": AttributeError("'NoneType' object has no attribute 'id'"),
    "may not be read": None,
    "of a folder that may not be read": None,
}


@pytest.mark.parametrize("how", BROKEN)
def test_one_drop_broken_in_any_way_stops_no_other(
    watch: Watch, drop_zone: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    files = [drop_zone.parent / f"project{number}" / "train.jsonl" for number in range(7)]
    victim = random.Random(how).choice(files[:-1])

    class Refusing:
        def send(self, destination: str, messages: Sequence[Message]) -> None:
            if (fault := BROKEN[how]) is not None and victim.parent.name.encode() in messages[0].body:
                raise fault
            watch.bus.send(destination, messages)

    def denied(call: Any, path: Path) -> Any:
        def checked(name: Any) -> Any:
            if str(name) == str(path):
                raise PermissionError(13, "Permission denied")
            return call(name)

        return checked

    for file in files:
        file.parent.mkdir()
        file.write_text("{}\n")
    if how == "may not be read":
        monkeypatch.setattr(os, "lstat", denied(os.lstat, victim))
    elif how == "of a folder that may not be read":
        monkeypatch.setattr(os, "scandir", denied(os.scandir, victim.parent))
    watch.start(Refusing())
    watch.pass_time()
    subjects = {event["subject"].rpartition("/blobs/")[2] for event in watch.events()}
    assert subjects == {f"{file.parent.name}/train.jsonl" for file in files if file != victim}


@pytest.mark.parametrize("jump_s", JUMPS)
def test_a_drop_waits_no_longer_although_the_clock_jumped(watch: Watch, drop_zone: Path, jump_s: float) -> None:
    watch.start()
    (drop_zone / "train.jsonl").write_text("{}\n")
    watch.pass_time(jump_s)
    watch.pass_time()
    assert len(watch.events()) == 1


def test_a_zone_that_takes_long_to_look_at_is_looked_at_less_often(tmp_path: Path) -> None:
    polls: list[float] = []

    class Large(FileBlobStore):
        def list(self, prefix: str) -> Iterator[BlobInfo]:
            polls.append(time.monotonic())
            began = time.thread_time()
            while time.thread_time() - began < 0.02:
                pass
            polls.append(time.monotonic())
            return super().list(prefix)

    with closing(SqliteEventBus(tmp_path / "bus.db", TOPOLOGY, ManualClock())) as bus:
        watcher = DropWatcher(Large(tmp_path / "blobs"), bus, tmp_path / "drops.db", ManualClock(), poll_s=0.01)
        watcher.start()
        eventually(lambda: len(polls) >= 6)
        watcher.stop()
    pauses = [begins - ended for ended, begins in zip(polls[1::2], polls[2::2], strict=False)]
    assert min(pauses) >= 0.02 / 0.05
