"""Services on embedded ports in a temporary folder. No Azure ML runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shared.clients.azure_ml.client import AzureMLClient
from shared.clients.targets import TargetNotifier
from shared.domain.planning.plan import resolve
from shared.domain.recipe import Recipe
from shared.domain.results import CostEstimate
from shared.domain.run import Run
from shared.embedded.blobs import FileBlobStore
from shared.embedded.bus import SqliteEventBus
from shared.embedded.store import SqliteRunStore
from shared.pipeline import TOPOLOGY
from shared.ports import Services
from shared.runner import Runner
from shared.services import build_config
from shared.settings import Settings
from tests.clock import ManualClock
from tests.unit.shared.support import CURATED, drop


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def services(tmp_path: Path, clock: ManualClock, impatient: None) -> Iterator[Services]:
    settings = Settings()
    azure_ml = AzureMLClient(settings.azure_ml_url)
    store = SqliteRunStore(tmp_path / "state.db", clock)
    bus = SqliteEventBus(tmp_path / "bus.db", TOPOLOGY, clock)
    notifier = TargetNotifier(private_hosts=("127.0.0.1",))
    yield Services(
        clock=clock,
        store=store,
        bus=bus,
        blobs=FileBlobStore(tmp_path / "blobs"),
        launcher=azure_ml,
        models=azure_ml,
        notifier=notifier,
        config=replace(build_config(settings), job_poll_s=60.0),
    )
    notifier.close()
    store.close()
    bus.close()


@pytest.fixture
def runner(services: Services) -> Runner:
    return Runner(services)


@pytest.fixture
def prepared(services: Services, runner: Runner) -> Run:
    """A run as its validation leaves it: with its recipe, its curated version and an estimate."""
    created = drop(services, runner)
    assert created is not None
    recipe = resolve(Recipe(base_model="droptune/tiny-llama"), "shop", train_rows=100, characters_max=100)
    cost = CostEstimate(low_usd=1, high_usd=2, hourly_usd=1, low_hours=1, high_hours=2)
    return created.evolve(recipe=recipe, curated=CURATED, cost=cost)
