"""Runs as documents of the store."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.domain.errors import StoreConflict
from shared.domain.run import Run, Status
from shared.ports import Services
from shared.records import runs
from shared.runner import Runner
from tests.unit.shared.support import drop


@pytest.fixture
def template(services: Services, runner: Runner) -> Run:
    """A run of another project, to make others of."""
    created = drop(services, runner, "datasets/elsewhere/train.jsonl")
    assert created is not None
    return created


def stored(services: Services, template: Run, number: int, **changes: object) -> Run:
    """One run a minute, numbered from 1."""
    created_at = template.created_at + timedelta(minutes=number)
    changes = {"project": "shop", "created_at": created_at, **changes}
    run = template.evolve(id=f"run-{number:012}", **changes)
    services.store.batch(run.id, [runs.creation(run)])
    return run


def test_a_run_comes_back_as_it_was_written(services: Services, template: Run) -> None:
    run = stored(services, template, 1, status=Status.TRAINING, parent_run=template.id)
    assert runs.load(services.store, run.id) == run
    assert runs.run_of(runs.document_of(run)) == run


def test_a_run_that_is_not_there_is_none(services: Services, template: Run) -> None:
    assert runs.load(services.store, "run-none") is None
    assert not runs.exists(services.store, "run-none")
    assert runs.exists(services.store, template.id)


def test_a_run_is_created_once_and_replaced_only_in_the_version_read(services: Services, template: Run) -> None:
    run = stored(services, template, 1)
    with pytest.raises(StoreConflict):
        services.store.batch(run.id, [runs.creation(run)])
    read = runs.read(services.store, run.id)
    assert read is not None
    services.store.batch(run.id, [runs.replacement(run.evolve(revision=2), read.etag)])
    with pytest.raises(StoreConflict):
        services.store.batch(run.id, [runs.replacement(run.evolve(revision=3), read.etag)])
    changed = runs.load(services.store, run.id)
    assert changed is not None
    assert changed.revision == 2


def test_runs_are_found_by_status_and_by_whether_they_have_ended(services: Services, template: Run) -> None:
    training = stored(services, template, 1, status=Status.TRAINING)
    deployed = stored(services, template, 2, status=Status.DEPLOYED)
    assert list(runs.with_status(services.store, Status.TRAINING)) == [training]
    assert list(runs.unfinished(services.store)) == [training, template]
    assert list(runs.of_project(services.store, "shop")) == [deployed, training]


def test_a_page_is_filtered_and_leads_to_the_next(services: Services, template: Run) -> None:
    made = [stored(services, template, n, status=Status.FAILED) for n in (1, 2, 3)]
    stored(services, template, 4, status=Status.TRAINING)
    first, cursor = runs.page(services.store, project="shop", status=Status.FAILED, limit=2)
    rest, end = runs.page(services.store, project="shop", status=Status.FAILED, limit=2, after=cursor)
    assert (first + rest, end) == (made[::-1], None)
    assert len(runs.page(services.store)[0]) == 5


def test_the_last_deployed_run_of_a_project_is_the_newest_one(services: Services, template: Run) -> None:
    assert runs.last_deployed(services.store, "shop") is None
    stored(services, template, 1, status=Status.DEPLOYED)
    newest = stored(services, template, 2, status=Status.DEPLOYED)
    stored(services, template, 3, status=Status.FAILED)
    assert runs.last_deployed(services.store, "shop") == newest


def test_children_are_the_younger_runs_of_the_project_that_name_their_parent(services: Services, template: Run) -> None:
    parent = stored(services, template, 1)
    for number, named in ((2, parent.id), (3, None), (4, parent.id)):
        stored(services, template, number, parent_run=named)
    assert runs.count_children(services.store, parent) == 2
