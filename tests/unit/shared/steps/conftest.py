"""An endpoint in production (its platform, the run whose model it serves, its record), and a webhook's receiver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from shared.domain.endpoint import EndpointRecord, PreviousDeployment
from shared.domain.planning.plan import resolve
from shared.domain.recipe import Recipe, Retrain
from shared.domain.run import Run
from shared.ports import Services
from shared.records import endpoints
from shared.runner import Runner
from tests.receiver import Receiver
from tests.unit.shared.steps.production import NEW, OLD, Endpoint
from tests.unit.shared.support import drop


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


@pytest.fixture
def ports(services: Services, endpoint: Endpoint) -> Services:
    return replace(services, models=endpoint)  # type: ignore[arg-type]


@pytest.fixture
def champion(services: Services, runner: Runner) -> Run:
    created = drop(services, runner)
    assert created is not None
    recipe = Recipe(base_model="droptune/tiny-llama", retrain=Retrain(every_days=7))
    return created.evolve(recipe=resolve(recipe, "shop", train_rows=100, characters_max=100))


@pytest.fixture
def record(ports: Services, champion: Run) -> EndpointRecord:
    now = ports.clock.now()
    written = EndpointRecord(
        endpoint="shop",
        project="shop",
        champion=champion.id,
        deployment=NEW,
        model="shop:2",
        scoring_uri="http://x/",
        promoted_at=now,
        previous=PreviousDeployment(
            champion="run-old",
            project="shop",
            deployment=OLD,
            model="shop:1",
            keep_until=now + timedelta(hours=24),
        ),
    )
    endpoints.write(ports.store, written, replacing=None)
    return written


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()
