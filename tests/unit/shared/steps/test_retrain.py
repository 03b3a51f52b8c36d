"""Training again on a schedule."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from shared.domain.endpoint import EndpointRecord
from shared.domain.planning.plan import resolve
from shared.domain.recipe import Recipe, Retrain
from shared.domain.run import Run, Status
from shared.domain.topology import EVENT_ALLOWANCE
from shared.ports import BlobInfo, Services
from shared.records import endpoints, runs
from shared.steps.retrain import WAIT_S, retrain
from tests.clock import ManualClock
from tests.unit.shared.support import ROW, take


@pytest.fixture
def live(ports: Services, champion: Run) -> Run:
    """The champion, whose run is over."""
    stored = runs.read(ports.store, champion.id)
    assert stored is not None
    ports.store.batch(champion.id, [runs.replacement(champion.evolve(status=Status.DEPLOYED), stored)])
    return champion


@pytest.fixture
def listed(ports: Services, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What blobs are listed below, as they are."""
    found: list[str] = []
    list_blobs = ports.blobs.list

    def counted(prefix: str) -> Iterator[BlobInfo]:
        found.append(prefix)
        return list_blobs(prefix)

    monkeypatch.setattr(ports.blobs, "list", counted)
    return found


@pytest.mark.parametrize("days", [1e-5, 1e-12])
def test_no_recipe_asks_for_it_more_than_once_an_hour(
    ports: Services, clock: ManualClock, live: Run, record: EndpointRecord, days: float
) -> None:
    often = Recipe(base_model="droptune/tiny-llama", retrain=Retrain(every_days=days))
    champion = live.evolve(recipe=resolve(often, "shop", train_rows=100, characters_max=100))
    clock.advance(3599)
    assert retrain(record, champion, ports) is None
    clock.advance(1)
    assert retrain(record, champion, ports) is not None
    for _ in range(20):
        clock.advance(30)
        assert retrain(record, champion, ports) is None


def test_data_is_trained_on_again_when_its_time_has_come_and_once_a_period(
    ports: Services, clock: ManualClock, live: Run, record: EndpointRecord
) -> None:
    assert retrain(record, live, ports) is None
    clock.advance(7 * 24 * 3600)
    command = retrain(record, live, ports)
    assert command is not None
    assert [sent.message.id for sent in take(ports, "storage-events")] == [command.id]
    assert retrain(record, live, ports) is None
    clock.advance(7 * 24 * 3600 - 1)
    assert retrain(record, live, ports) is None
    clock.advance(1)
    later = retrain(record, live, ports)
    assert later is not None
    assert later.id != command.id


def test_data_whose_own_run_is_under_way_is_not_trained_on_a_second_time(
    ports: Services, clock: ManualClock, champion: Run, record: EndpointRecord
) -> None:
    clock.advance(7 * 24 * 3600)
    assert retrain(record, champion, ports) is None


def test_data_whose_event_is_still_expected_is_left_to_it(
    ports: Services, clock: ManualClock, live: Run, record: EndpointRecord
) -> None:
    dropped = ports.blobs.write("datasets/shop/more.jsonl", [ROW * 2]).modified_at
    clock.advance((dropped - clock.now()).total_seconds() + 119)
    assert clock.now() - record.promoted_at > timedelta(days=7)
    assert retrain(record, live, ports) is None
    clock.advance(WAIT_S)
    command = retrain(record, live, ports)
    assert command is not None
    assert command.path == "datasets/shop/more.jsonl"


def test_a_recipe_without_a_schedule_is_never_retrained(
    ports: Services, clock: ManualClock, champion: Run, record: EndpointRecord
) -> None:
    recipe = Recipe(base_model="droptune/tiny-llama")
    silent = champion.evolve(recipe=resolve(recipe, "shop", train_rows=100, characters_max=100))
    clock.advance(365 * 24 * 3600)
    assert retrain(record, silent, ports) is None


def test_a_model_whose_run_lost_its_recipe_is_not_trained_again(
    ports: Services, clock: ManualClock, live: Run, record: EndpointRecord
) -> None:
    clock.advance(7 * 24 * 3600)
    assert retrain(record, live, ports) is not None
    assert retrain(record, live.evolve(recipe=None), ports) is None


@pytest.mark.parametrize("files", [1, 100])
def test_the_folder_is_listed_once_in_a_period_however_many_files_it_has(
    ports: Services, clock: ManualClock, live: Run, record: EndpointRecord, listed: list[str], files: int
) -> None:
    for number in range(files):
        ports.blobs.write(f"datasets/shop/more-{number}.jsonl", [ROW])
    clock.advance(EVENT_ALLOWANCE.total_seconds() + 60)
    for period in range(3):
        for _ in range(50):
            retrain(record, live, ports)
        assert listed == ["datasets/shop/"] * period
        clock.advance(7 * 24 * 3600)


def test_data_that_is_on_its_way_is_looked_for_again_after_a_while(
    ports: Services, clock: ManualClock, champion: Run, record: EndpointRecord, listed: list[str]
) -> None:
    clock.advance(7 * 24 * 3600)
    for count in range(1, 4):
        for _ in range(20):
            assert retrain(record, champion, ports) is None
        assert len(listed) == count
        clock.advance(WAIT_S)


@pytest.mark.parametrize("ahead_days", [8, 200])
def test_the_schedule_goes_on_within_a_period_although_the_clock_that_dated_the_promotion_was_set_back(
    ports: Services, clock: ManualClock, live: Run, record: EndpointRecord, ahead_days: int
) -> None:
    clock.advance(-ahead_days * 24 * 3600)
    assert retrain(record, live, ports) is None
    [dated] = endpoints.all_records(ports.store)
    clock.advance(7 * 24 * 3600 - 1)
    assert retrain(dated, live, ports) is None
    clock.advance(1)
    assert retrain(dated, live, ports) is not None
