"""What the drop zone makes of a blob."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import orjson
import pytest

from shared.domain import paths
from shared.domain.commands import BlobCreated, CopyBlob, StartRun, parse_request
from shared.domain.dataset import Report
from shared.domain.drop_zone import MAX_RECIPE_BYTES
from shared.domain.errors import FailureClass, InvalidInput, Transient
from shared.domain.policy import PlatformPolicy, Project
from shared.domain.run import Status
from shared.domain.topology import STORAGE_EVENTS
from shared.pipeline import BY_NAME
from shared.ports import BlobInfo, Services
from shared.records import claims, policies
from shared.runner import Runner
from shared.step_support.dataset_files import held_out_file, recipe_file
from shared.steps.receive_dataset import BUSY, copy_blob, receive_dataset, settles_at
from shared.steps.reconcile import SCAN_EVERY, start_missed_runs
from tests.clock import JUMPS, ManualClock
from tests.unit.shared.support import ROW, drop, events_at, take


@pytest.mark.parametrize(
    "name",
    [
        "eval.jsonl",
        "Validation.csv",
        "test.jsonl",
        "recipe.yaml",
        "Recipe.yml",
        "README.md",
        "_SUCCESS",
        "a.jsonl.part",
    ],
)
def test_what_is_no_training_file_starts_no_run(services: Services, runner: Runner, name: str) -> None:
    assert drop(services, runner, f"datasets/shop/{name}") is None


@pytest.mark.parametrize(
    "name",
    ["train.jsonl", "recipe.yaml", "eval.jsonl", "notes.pdf", "what is it?.csv", "a#b.jsonl", "x" * 200 + ".csv"],
)
def test_a_file_in_the_root_of_the_container_is_rejected_with_the_reason(
    services: Services, runner: Runner, name: str
) -> None:
    services.blobs.write("datasets/recipe.yml", [b"typo: 1"])
    assert codes_of(services, runner, f"datasets/{name}") == ("no_project_folder",)


@pytest.mark.parametrize("project", ["P_Bad", "a#b", "what?", "ö" * 100])
def test_a_folder_that_cannot_be_a_project_is_answered(services: Services, runner: Runner, project: str) -> None:
    assert "project_name" in codes_of(services, runner, f"datasets/{project}/train.jsonl")


def test_a_dataset_with_two_recipes_is_rejected_by_their_names(services: Services, runner: Runner) -> None:
    for name in ("recipe.yaml", "Recipe.yml"):
        services.blobs.write(f"datasets/shop/{name}", [b"base_model: droptune/tiny-llama\n"])
    assert codes_of(services, runner, "datasets/shop/train.jsonl") == ("several_recipes",)


def codes_of(services: Services, runner: Runner, path: str) -> tuple[str, ...]:
    """The errors of the run that a dropped blob starts, once it is rejected."""
    run = drop(services, runner, path)
    assert run is not None
    [event] = events_at(services, "validate_dataset")
    runner.handle(BY_NAME["validate_dataset"], event)
    rejected = runner.load(run.id)
    assert rejected is not None
    assert rejected.status is Status.REJECTED
    assert rejected.validation is not None
    report = Report.model_validate_json(b"".join(services.blobs.read(paths.run(run.id, "report.json"))))
    errors = {problem.code for problem in report.problems if problem.severity == "error"}
    assert errors == set(rejected.validation.codes)
    assert events_at(services, "notify")
    return rejected.validation.codes


def test_the_same_event_twice_makes_one_run_and_one_event(services: Services, runner: Runner) -> None:
    info = services.blobs.write("datasets/shop/train.jsonl", [ROW])
    event = BlobCreated(id="e", path=info.path)
    ids = set()
    for _ in range(2):
        reception = receive_dataset(event, services)
        assert reception is not None
        ids.add(runner.create(reception, "e", "t").id)
    assert len(ids) == 1
    assert len(events_at(services, "validate_dataset")) == 1


def test_data_written_again_before_they_are_read_have_one_run_that_goes_on(services: Services, runner: Runner) -> None:
    """Its duplicate follows it: if it failed, for its blob is another by then, nothing would be left."""
    data = [ROW * 60]
    services.blobs.write("datasets/shop/eval.jsonl", [ROW.replace(b'"a"', b'"c"') * 30])
    run = drop(services, runner, text=data[0])
    assert run is not None
    again = drop(services, runner, text=data[0])
    assert again is not None
    assert (again.status, again.duplicate_of) == (Status.DUPLICATE, run.id)
    [event] = events_at(services, "validate_dataset")
    runner.handle(BY_NAME["validate_dataset"], event)
    validated = runner.load(run.id)
    assert validated is not None
    assert validated.error is None
    assert validated.status in (Status.REJECTED, Status.VALIDATED)


@pytest.mark.parametrize("large", ["train.jsonl", "eval.jsonl"])
def test_of_a_projects_large_files_one_is_read_at_a_time(services: Services, large: str) -> None:
    limited = replace(services, config=replace(services.config, inline_validation_max_bytes=1000))
    for project in ("shop", "bank"):
        for name in ("train.jsonl", "eval.jsonl"):
            services.blobs.write(f"datasets/{project}/{name}", [b"x" * (1001 if name == large else 10)])
    requests = {project: BlobCreated(id="e", path=f"datasets/{project}/train.jsonl") for project in ("shop", "bank")}
    claims.take(services.store, claims.reading_claim("shop"), "run-other", services.clock.now())
    with pytest.raises(Transient, match="a large file of shop is being read for run-other") as waits:
        receive_dataset(requests["shop"], limited)
    info = services.blobs.info("datasets/shop/train.jsonl")
    assert info is not None
    assert (waits.value.problem.code, waits.value.problem.param) == (BUSY, paths.run_id_of_blob(info.path, info.etag))
    assert receive_dataset(requests["bank"], limited) is not None
    assert receive_dataset(requests["shop"], services) is not None, "small files do not wait"
    claims.release(services.store, claims.reading_claim("shop"), "run-other")
    assert receive_dataset(requests["shop"], limited) is not None
    assert claims.read(services.store, claims.reading_claim("shop")) is None


def test_a_recipe_that_is_too_large_fails_its_run_before_any_is_read(services: Services) -> None:
    for name, size in {"train.jsonl": 10, "recipe.yaml": 10, "recipe.yml": MAX_RECIPE_BYTES + 1}.items():
        services.blobs.write(f"datasets/shop/{name}", [b"x" * size])
    reception = receive_dataset(BlobCreated(id="e", path="datasets/shop/train.jsonl"), services)
    assert reception is not None
    error = reception.run.error
    assert error is not None
    assert (error.problem.code, error.problem.param) == ("file_too_large", "datasets/shop/recipe.yml")
    assert error.problem.message == "it has 65,537 bytes, a recipe has at most 65,536"


@pytest.mark.parametrize("name", ["train.jsonl", "recipe.yaml", "eval.jsonl"])
def test_a_file_larger_than_the_setting_fails_its_run_before_it_is_read(
    services: Services, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = replace(services, config=replace(services.config, max_file_bytes=1000))
    for each, size in {"train.jsonl": 1000, "recipe.yaml": 10, "eval.jsonl": 1000, name: 1001}.items():
        services.blobs.write(f"datasets/shop/{each}", [b"x" * size])
    read, opened = services.blobs.read, list[str]()

    def reading(path: str, *, etag: str | None = None) -> Iterator[bytes]:
        opened.append(path)
        return read(path, etag=etag)

    monkeypatch.setattr(services.blobs, "read", reading)
    reception = receive_dataset(BlobCreated(id="e", path="datasets/shop/train.jsonl"), limited)
    assert reception is not None
    assert reception.run.status is Status.FAILED
    error = reception.run.error
    assert error is not None
    assert (error.failure_class, error.problem.code) == (FailureClass.DATA, "file_too_large")
    assert (error.problem.param, f"datasets/shop/{name}" in opened) == (f"datasets/shop/{name}", False)
    assert error.problem.message == "it has 1,001 bytes, MAX_FILE_BYTES allows 1,000"


def test_the_same_bytes_with_another_recipe_are_no_duplicate(services: Services, runner: Runner) -> None:
    drop(services, runner)
    services.blobs.write("datasets/shop/recipe.yaml", [b"base_model: droptune/tiny-llama\n"])
    again = drop(services, runner, "datasets/shop/again.jsonl")
    assert again is not None
    assert again.status is Status.RECEIVED


def test_the_same_bytes_with_another_held_out_set_are_no_duplicate(services: Services, runner: Runner) -> None:
    drop(services, runner)
    services.blobs.write("datasets/shop/eval.jsonl", [ROW])
    again = drop(services, runner, "datasets/shop/again.jsonl")
    assert again is not None
    assert again.status is Status.RECEIVED


def test_what_lies_beside_a_dataset_in_its_folder_comes_before_what_is_the_projects(services: Services) -> None:
    for name in ("recipe.yaml", "eval.jsonl", "march/recipe.yaml"):
        services.blobs.write(f"datasets/shop/{name}", [b"x"])
    beside, elsewhere = "datasets/shop/march/train.jsonl", "datasets/shop/april/train.jsonl"
    for dataset, recipe in ((beside, "datasets/shop/march/recipe.yaml"), (elsewhere, "datasets/shop/recipe.yaml")):
        found, held_out = recipe_file(dataset, services), held_out_file(dataset, services)
        assert found is not None
        assert held_out is not None
        assert (found.path, held_out.path) == (recipe, "datasets/shop/eval.jsonl")
    assert recipe_file("datasets/other/march/train.jsonl", services) is None


def test_what_the_api_keeps_for_itself_starts_a_run_only_when_somebody_asks(
    services: Services, runner: Runner, clock: ManualClock
) -> None:
    path = "datasets/shop/_jobs/1/train.jsonl"
    info = services.blobs.write(path, [ROW])
    clock.advance((info.modified_at - clock.now()).total_seconds() + 150)
    assert receive_dataset(BlobCreated(id="e", path=path), services) is None
    assert start_missed_runs(services).count == 0
    outcome = receive_dataset(StartRun(path=path, etag=info.etag, key="1", requested_by="ada"), services)
    assert outcome is not None
    assert outcome.run.project == "shop"


def test_a_blob_gone_by_now_starts_no_run(services: Services) -> None:
    assert receive_dataset(BlobCreated(id="e", path="datasets/shop/gone.jsonl"), services) is None


@pytest.mark.parametrize(("project", "days"), [("claims", 5), ("kept", 0), ("shop", 30)])
def test_a_run_is_kept_as_long_as_the_policy_of_its_project_said_when_it_began(
    services: Services, clock: ManualClock, project: str, days: int
) -> None:
    sound = replace(services, config=replace(services.config, run_retention_days=30))
    projects = {"claims": Project(retention_days=5), "kept": Project(retention_days=0)}
    policies.apply(services.store, PlatformPolicy(projects=projects), 0, "ada", "ada", clock.now())
    run = drop(sound, Runner(sound), f"datasets/{project}/train.jsonl")
    assert run is not None
    assert run.retention_days == days


def test_a_blob_whose_event_was_lost_is_found_later_and_only_once_it_has_a_run(
    services: Services, clock: ManualClock, runner: Runner
) -> None:
    info = services.blobs.write("datasets/shop/train.jsonl", [ROW])
    clock.advance((info.modified_at - clock.now()).total_seconds())
    assert start_missed_runs(services).count == 0  # Event Grid has time to deliver
    clock.advance(SCAN_EVERY.total_seconds())
    assert start_missed_runs(services).count == 1
    [sent] = take(services, STORAGE_EVENTS)
    reception = receive_dataset(parse_request(orjson.loads(sent.message.body)), services)
    assert reception is not None
    runner.create(reception, "e", "t")
    clock.advance(SCAN_EVERY.total_seconds())
    assert start_missed_runs(services).count == 0


@pytest.mark.parametrize("jump_s", JUMPS)
def test_a_blob_is_waited_for_no_longer_although_the_clock_jumped(
    services: Services, clock: ManualClock, jump_s: float
) -> None:
    debouncing = replace(services, config=replace(services.config, debounce_s=10))
    info = services.blobs.write("datasets/shop/train.jsonl", [ROW])
    clock.advance((info.modified_at - clock.now()).total_seconds() + 1)
    assert settles_at(info.path, debouncing) == info.modified_at + timedelta(seconds=10)
    clock.advance(jump_s)
    assert settles_at(info.path, debouncing) is None


def test_a_blob_of_no_bytes_is_given_time_for_its_content_and_is_answered_if_none_comes(
    services: Services, clock: ManualClock
) -> None:
    debouncing = replace(services, config=replace(services.config, debounce_s=10))
    path = "datasets/shop/train.jsonl"
    empty = services.blobs.write(path, [])
    clock.advance((empty.modified_at - clock.now()).total_seconds() + 11)
    assert settles_at(path, debouncing) == empty.modified_at + timedelta(seconds=300)
    filled = services.blobs.write(path, [ROW])
    clock.advance((filled.modified_at - clock.now()).total_seconds() + 11)
    assert settles_at(path, debouncing) is None
    empty = services.blobs.write(path, [])
    clock.advance((empty.modified_at - clock.now()).total_seconds() + 301)
    assert settles_at(path, debouncing) is None


URL = "https://lake.blob.core.windows.net/raw/train.jsonl"


class Lake:
    """Another account with one blob, whose content a test sets, beside our own."""

    def __init__(self, own: Any, clock: ManualClock) -> None:
        self.own, self.clock, self.content, self.changed_at = own, clock, b"", clock.now()

    def info(self, path: str) -> BlobInfo | None:
        source = BlobInfo(URL, "e1", len(self.content), self.changed_at)
        return source if path == URL else cast(BlobInfo | None, self.own.info(path))

    def read(self, path: str, *, etag: str | None = None) -> Iterator[bytes]:
        return iter([self.content]) if path == URL else self.own.read(path, etag=etag)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.own, name)


@pytest.fixture
def lake(services: Services) -> Services:
    """Allowed for the project shop."""
    projects = {"shop": Project(storage_accounts=("lake/raw",))}
    policies.apply(services.store, PlatformPolicy(projects=projects), 0, "root", "root", services.clock.now())
    clock = ManualClock(services.clock.now() - timedelta(hours=1))
    return replace(services, blobs=cast(Any, Lake(services.blobs, clock)))


def test_a_blob_of_another_account_is_copied_once_it_has_bytes_and_again_when_it_was_changed(lake: Services) -> None:
    source, command = cast(Any, lake.blobs), CopyBlob(project="shop", url=URL, key="k")
    with pytest.raises(Transient, match="source_is_empty"):
        copy_blob(command, lake)
    source.content = ROW
    copy_blob(command, lake)
    first = lake.blobs.info(command.path)
    copy_blob(command, lake)
    assert first is not None
    assert lake.blobs.info(command.path) == first
    source.changed_at = first.modified_at + timedelta(minutes=1)  # the same bytes, written again
    copy_blob(command, lake)
    assert lake.blobs.info(command.path) != first
    assert b"".join(lake.blobs.read(command.path)) == ROW


def test_what_is_not_allowed_or_too_large_is_not_copied(lake: Services) -> None:
    cast(Any, lake.blobs).content = ROW
    for project, url in (
        ("bank", URL),
        ("shop", URL.replace("/raw/", "/rawer/")),
        ("shop", URL.replace("lake", "sea")),
    ):
        with pytest.raises(InvalidInput, match="storage_account_not_allowed"):
            copy_blob(CopyBlob(project=project, url=url, key="k"), lake)
    small = replace(lake, config=replace(lake.config, max_file_bytes=len(ROW) - 1))
    with pytest.raises(InvalidInput, match="file_too_large"):
        copy_blob(CopyBlob(project="shop", url=URL, key="k"), small)
    assert list(lake.blobs.list("datasets/")) == []
