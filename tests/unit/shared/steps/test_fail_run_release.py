"""What a finished run gives back."""

from __future__ import annotations

import pytest

from shared.domain.planning.plan import resolve
from shared.domain.recipe import Recipe
from shared.domain.results import CostEstimate
from shared.domain.run import TERMINAL, Run, Status
from shared.ports import Services
from shared.records import budget, claims
from shared.runner import Runner
from shared.steps.fail_run import RELEASING, release
from tests.clock import ManualClock
from tests.unit.shared.support import drop

ENDPOINT = claims.endpoint_claim("shop")


@pytest.fixture
def run(services: Services, runner: Runner) -> Run:
    """Holds its dataset, its endpoint and a reservation."""
    created = drop(services, runner)
    assert created is not None
    recipe = resolve(Recipe(base_model="droptune/tiny-llama"), "shop", train_rows=100, characters_max=100)
    cost = CostEstimate(low_usd=0, high_usd=60, hourly_usd=1, low_hours=0, high_hours=1)
    claims.take(services.store, ENDPOINT, created.id, services.clock.now())
    changed = created.evolve(recipe=recipe, cost=cost)
    budget.reserve(services.store, changed, {"shop": 100}, 80)
    return changed


def dataset_claim(run: Run) -> str:
    return claims.dataset_claim(run.project, run.dataset.sha256, run.fingerprint)


@pytest.mark.parametrize("status", sorted(TERMINAL - {Status.DUPLICATE}))
def test_the_same_data_may_come_again_after_an_end_that_says_nothing_about_it(
    services: Services, run: Run, status: Status
) -> None:
    release(services.store, run.evolve(status=status), services.clock.now())
    assert (claims.read(services.store, dataset_claim(run)) is None) is (status in RELEASING)
    assert list(claims.unsettled(services.store)) == (
        [claims.read(services.store, ENDPOINT)] if status in RELEASING else []
    )


def test_an_unused_reservation_is_free_for_another_run(services: Services, run: Run) -> None:
    release(services.store, run.evolve(status=Status.FAILED), services.clock.now())
    budget.reserve(services.store, run.evolve(id="run-other"), {"shop": 60}, 80)


@pytest.mark.parametrize("status", [Status.DECLINED, Status.REJECTED, Status.DEPLOYED])
def test_the_claim_on_the_data_goes_with_the_run_that_holds_it(
    services: Services, clock: ManualClock, run: Run, status: Status
) -> None:
    release(services.store, run.evolve(status=status, retention_days=90), clock.now())
    clock.advance(91 * 24 * 3600)
    held = claims.read(services.store, dataset_claim(run))
    assert (held is not None) is (status is Status.DEPLOYED)
