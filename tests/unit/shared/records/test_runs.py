"""Runs as documents of the store."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from shared.domain.errors import FailureClass, LaterVersion, PermanentFailure, Problem, StoreConflict
from shared.domain.run import TERMINAL, Run, RunError, Status
from shared.domain.upgrades import SCHEMA_VERSION
from shared.ports import Services, Stored, Write
from shared.records import runs
from shared.runner import Runner
from tests.clock import ManualClock
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
    assert runs.run_of(Stored(runs.document_of(run), "1", run.id)) == run


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
    services.store.batch(run.id, [runs.replacement(run.evolve(revision=2), read)])
    with pytest.raises(StoreConflict):
        services.store.batch(run.id, [runs.replacement(run.evolve(revision=3), read)])
    changed = runs.load(services.store, run.id)
    assert changed is not None
    assert changed.revision == 2


def test_runs_are_found_by_status_and_by_whether_they_have_ended(services: Services, template: Run) -> None:
    training = stored(services, template, 1, status=Status.TRAINING)
    deployed = stored(services, template, 2, status=Status.DEPLOYED)
    assert list(runs.with_status(services.store, Status.TRAINING)) == [training]
    assert list(runs.unfinished(services.store)) == [training, template]
    assert runs.page(services.store, project="shop").runs == (deployed, training)


def test_a_page_is_filtered_and_leads_to_the_next(services: Services, template: Run) -> None:
    made = [stored(services, template, n, status=Status.FAILED) for n in (1, 2, 3)]
    stored(services, template, 4, status=Status.TRAINING)
    first = runs.page(services.store, project="shop", status=Status.FAILED, limit=2)
    rest = runs.page(services.store, project="shop", status=Status.FAILED, limit=2, after=first.next)
    assert ([*first.runs, *rest.runs], rest.next) == (made[::-1], None)
    assert len(runs.page(services.store).runs) == 5


def test_the_last_deployed_run_of_a_project_is_the_newest_one(services: Services, template: Run) -> None:
    assert runs.last_deployed(services.store, "shop") is None
    stored(services, template, 1, status=Status.DEPLOYED)
    newest = stored(services, template, 2, status=Status.DEPLOYED)
    stored(services, template, 3, status=Status.FAILED)
    assert runs.last_deployed(services.store, "shop") == newest


BROKEN: list[object] = [None, 5, "x", [], {}, {"id": 5}, {"recipe": 5}, {"jobs": [5]}, {"evaluation": {"slices": [{}]}}]


@pytest.mark.parametrize("content", BROKEN)
def test_a_run_that_cannot_be_read_is_named_in_its_page_and_alone_fails(
    services: Services, template: Run, content: object
) -> None:
    good = stored(services, template, 1, status=Status.TRAINING)
    bad = stored(services, template, 2, status=Status.TRAINING)
    document = runs.document_of(bad)
    spoiled = {
        **document,
        "schema_version": 0,
        "run": {**document["run"], **content} if content and isinstance(content, dict) else content,
    }
    services.store.batch(bad.id, [Write("replace", runs.RUN, spoiled)])
    page = runs.page(services.store, status=Status.TRAINING)
    [left_out] = page.unreadable
    assert (page.runs, left_out.type, left_out.partition, left_out.id) == ((good,), "run", bad.id, "run")
    assert left_out.problem.endswith("Error: it does not fit this version")
    assert list(runs.with_status(services.store, Status.TRAINING)) == [good]
    with pytest.raises(PermanentFailure) as caught:
        runs.load(services.store, bad.id)
    assert (caught.value.problem.code, caught.value.problem.param) == ("unreadable_document", bad.id)


JUNK: list[object] = [None, 5, "x", [], [5], {"a": {}}, True, "2026-01-01T00:00:00"]


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("name", Run.model_fields)
def test_of_a_run_with_a_broken_field_all_others_are_read(
    services: Services, template: Run, name: str, junk: object
) -> None:
    run = stored(services, template, 1, status=Status.TRAINING, parent_run=template.id, cancel_requested_by="ada")
    document = runs.document_of(run)
    broken = Stored({**document, "run": {**document["run"], name: junk}}, "1", run.id)
    found = runs.salvaged(broken, Status.RECEIVED, services.clock.now())
    others = {field: value for field, value in dict(run).items() if field != name}
    assert {field: value for field, value in dict(found).items() if field != name} == others


@pytest.mark.parametrize("content", [None, 5, "x", [], {}, {"dataset": None}])
def test_of_a_run_without_content_is_read_where_it_stood(services: Services, template: Run, content: object) -> None:
    document = {**runs.document_of(stored(services, template, 1)), "run": content}
    found = runs.salvaged(Stored(document, "1", "run-000000000001"), Status.FAILED, services.clock.now())
    assert (found.id, found.project, found.status) == ("run-000000000001", "shop", Status.RECEIVED)
    assert (found.dataset.path, found.jobs, found.recipe) == ("datasets/shop/unknown", (), None)


@pytest.mark.parametrize("document", [{}, {"status": "lost", "run": {"status": 5}, "revision": -1, "created_at": 7}])
def test_a_run_of_which_nothing_can_be_read_stands_where_the_caller_says(
    services: Services, document: dict[str, Any]
) -> None:
    found = runs.salvaged(Stored(document, "1", "run-1"), Status.DEPLOYED, services.clock.now())
    assert (found.id, found.status, found.revision) == ("run-1", Status.DEPLOYED, 10_000)


def test_a_field_of_a_later_version_is_ignored_wherever_it_is(services: Services, template: Run) -> None:
    run = stored(services, template, 1)
    document = runs.document_of(run)
    assert runs.run_of(Stored({**document, "more": 1, "run": _with_more(document["run"])}, "1", run.id)) == run


def test_a_field_of_a_later_version_stays_in_a_run_that_this_version_moves(services: Services, template: Run) -> None:
    run = stored(services, template, 1)
    later = {**runs.document_of(run), "more": 1}
    later["run"] = _with_more(later["run"])
    services.store.batch(run.id, [Write("replace", runs.RUN, later)])
    read = runs.read(services.store, run.id)
    assert read is not None
    error = RunError(failure_class=FailureClass.CODE, problem=Problem(code="c", message="m"))
    line = run.history[0].model_copy(update={"event_id": "another"})
    changed = run.evolve(status=Status.FAILED, error=error, history=(*run.history, line))
    services.store.batch(run.id, [runs.replacement(changed, read)])
    kept = services.store.get(run.id, runs.RUN)
    assert kept is not None
    expected = runs.document_of(changed)
    history = [_with_more(expected["run"]["history"][0]), *expected["run"]["history"][1:]]
    content = {**later["run"], "status": "failed", "error": expected["run"]["error"], "history": history}
    assert kept.document == {**expected, "more": 1, "run": content}


@pytest.mark.parametrize("number", [SCHEMA_VERSION + 1, 99])
def test_a_run_of_a_later_form_is_left_to_hosts_of_that_version(services: Services, template: Run, number: int) -> None:
    run = stored(services, template, 1)
    later = {**runs.document_of(run), "schema_version": number}
    services.store.batch(run.id, [Write("replace", runs.RUN, later)])
    with pytest.raises(LaterVersion, match=f"run: schema version {number}"):
        runs.load(services.store, run.id)
    assert [entry.partition for entry in runs.page(services.store).unreadable] == [run.id]


def _with_more(content: object) -> object:
    """The same with an unknown field in every object that is not a map of the user's own keys."""
    if isinstance(content, list):
        return [_with_more(item) for item in content]
    if isinstance(content, dict):
        return {"more": 1, **{key: _with_more(value) for key, value in content.items()}}
    return content


def test_of_the_newest_deployed_run_no_older_one_takes_the_place(services: Services, template: Run) -> None:
    stored(services, template, 1, status=Status.DEPLOYED)
    newest = stored(services, template, 2, status=Status.DEPLOYED)
    services.store.batch(newest.id, [Write("replace", runs.RUN, {**runs.document_of(newest), "run": {}})])
    with pytest.raises(PermanentFailure, match="unreadable_document"):
        runs.last_deployed(services.store, "shop")


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("status", Status)
def test_what_ended_and_deployed_nothing_is_kept_for_the_days_of_the_policy(
    services: Services, clock: ManualClock, template: Run, status: Status
) -> None:
    run = template.evolve(id="run-000000000001", project="shop", status=status, retention_days=90)
    services.store.batch(run.id, [runs.creation(run)])
    goes = status in TERMINAL - {Status.DEPLOYED}
    clock.advance(89 * 24 * 3600)
    assert runs.exists(services.store, run.id)
    clock.advance(2 * 24 * 3600)
    assert runs.exists(services.store, run.id) is not goes
    assert runs.exists(services.store, template.id), "without days everything is kept"
