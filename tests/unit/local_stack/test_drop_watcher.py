"""One event for each dropped blob, none before it is whole, none twice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local_stack.drop_watcher import DropWatcher
from shared.embedded.blobs import FileBlobStore
from shared.embedded.bus import SqliteEventBus
from shared.embedded.clock import SystemClock
from tests.unit.local_stack.functions_host.support import TOPOLOGY, eventually


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
def start_watcher(tmp_path: Path, drop_zone: Path, bus) -> Iterator[Callable[[], DropWatcher]]:
    watchers: list[DropWatcher] = []

    def start() -> DropWatcher:
        blobs = FileBlobStore(tmp_path / "blobs")
        memory = tmp_path / "state" / "drops.db"
        watcher = DropWatcher(blobs, bus, memory, quiet_s=0.4, poll_s=0.05)
        watchers.append(watcher)
        watcher.start()
        return watcher

    yield start
    for watcher in watchers:
        watcher.stop()


def events(bus, wait_s: float = 0.0) -> list[dict[str, Any]]:
    found = bus.receive("storage-events", max_messages=10, wait_s=wait_s)
    for one in found:
        bus.complete(one)
        assert one.message.subject == "Microsoft.Storage.BlobCreated"
        assert one.message.id == json.loads(one.message.body)["id"]
    return [json.loads(one.message.body) for one in found]


def test_a_file_copied_slowly_makes_one_event_once_it_is_whole(start_watcher, drop_zone, bus):
    start_watcher()
    with (drop_zone / "train set.jsonl").open("w") as stream:
        for _ in range(4):
            stream.write("{}\n")
            stream.flush()
            time.sleep(0.25)
            assert events(bus) == []
    [event] = events(bus, wait_s=5)
    assert event["specversion"] == "1.0"
    assert event["type"] == "Microsoft.Storage.BlobCreated"
    assert event["source"].endswith("/Microsoft.Storage/storageAccounts/local")
    assert event["subject"] == "/blobServices/default/containers/datasets/blobs/clinic/train set.jsonl"
    data = event["data"]
    assert data["contentLength"] == 12
    assert data["url"].endswith("/datasets/clinic/train%20set.jsonl")
    assert data["blobType"] == "BlockBlob"
    assert data["eTag"]
    time.sleep(0.6)
    assert events(bus) == []


def test_a_changed_file_makes_a_second_event_and_a_restart_none(start_watcher, drop_zone, bus):
    watcher = start_watcher()
    file = drop_zone / "train.jsonl"
    file.write_text("{}\n")
    [first] = events(bus, wait_s=5)
    file.write_text("{}\n{}\n")
    [second] = events(bus, wait_s=5)
    assert second["id"] != first["id"]
    assert second["data"]["eTag"] != first["data"]["eTag"]
    assert second["data"]["sequencer"] > first["data"]["sequencer"]

    watcher.stop()
    start_watcher()
    time.sleep(0.7)
    assert events(bus) == []


def test_what_was_dropped_while_the_watcher_was_away_is_found(start_watcher, drop_zone, bus):
    (drop_zone / "train.jsonl").write_text("{}\n")
    start_watcher()
    assert len(events(bus, wait_s=5)) == 1


def test_hidden_files_and_folders_make_no_event(start_watcher, drop_zone, bus):
    start_watcher()
    (drop_zone / ".train.jsonl.swp").write_text("x")
    (drop_zone.parent / ".cache").mkdir()
    (drop_zone.parent / ".cache" / "train.jsonl").write_text("x")
    (drop_zone / "seen.jsonl").write_text("{}\n")
    [event] = events(bus, wait_s=5)
    assert event["subject"].endswith("/clinic/seen.jsonl")
    assert events(bus, wait_s=0.5) == []


def test_a_file_that_went_and_came_back_is_a_new_drop(start_watcher, drop_zone, bus):
    start_watcher()
    file = drop_zone / "train.jsonl"
    file.write_text("{}\n")
    aside = drop_zone.parents[2] / "aside"
    assert len(events(bus, wait_s=5)) == 1
    file.rename(aside)
    time.sleep(0.3)
    aside.rename(file)  # the same bytes, time and inode: the same etag
    assert len(events(bus, wait_s=5)) == 1


def test_an_event_that_could_not_be_sent_is_sent_later(start_watcher, drop_zone, bus, monkeypatch, caplog):
    send, failures = bus.send, iter([RuntimeError("away")])

    def sometimes(*args: Any) -> None:
        for failure in failures:
            raise failure
        send(*args)

    monkeypatch.setattr(bus, "send", sometimes)
    (drop_zone / "train.jsonl").write_text("{}\n")
    start_watcher()
    eventually(lambda: "trying again" in caplog.text)
    assert len(events(bus, wait_s=5)) == 1
