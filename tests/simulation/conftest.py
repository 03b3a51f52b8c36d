"""Worlds: each in its own folder, with time and disk that a seed alone decides."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import shared.embedded.blobs
from functions import timers
from shared.domain.catalog import Sku
from shared.step_support import loops
from tests.simulation.world import World

MakeWorld = Callable[..., World]


@pytest.fixture
def make_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeWorld]:
    """`make_world(seed, **options)`: the same seed lives the same life, to the etag."""
    worlds: list[World] = []
    writes = itertools.count()

    def time_ns() -> int:
        return int(worlds[-1].clock.now().timestamp()) * 10**9 + next(writes) * 1000

    def etag(status: os.stat_result) -> str:
        return f"{status.st_mtime_ns:x}-{status.st_size:x}"

    def make(seed: Any, kind: type[World] = World, **options: Any) -> World:
        nonlocal writes
        writes = itertools.count()
        folder = tmp_path / str(len(worlds))
        folder.mkdir()
        world = kind(folder, str(seed), **options)
        worlds.append(world)
        return world

    monkeypatch.setattr(loops, "AT_ONCE", 1)  # one after the other, or a seed would live another life each time
    monkeypatch.setattr(timers, "PROBE_WAIT_S", loops.LIMIT_S)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # nobody pulls the plug here
    monkeypatch.setattr(shared.embedded.blobs, "time", SimpleNamespace(time_ns=time_ns, time=lambda: 0.0))
    monkeypatch.setattr(shared.embedded.blobs, "_etag", etag)
    monkeypatch.setattr(Sku, "price", lambda self, *, spot: 2.0)  # this machine is free of charge: the budget is not
    yield make
    for world in worlds:
        world.close()


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    seed = request.node.callspec.params["seed"] if hasattr(request.node, "callspec") else 0
    return random.Random(seed)
