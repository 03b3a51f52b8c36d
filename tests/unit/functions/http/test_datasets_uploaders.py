"""Whose the files of a run are, and so who may approve it: way in x who wrote what x who asks, and asks again."""

from __future__ import annotations

from itertools import product
from typing import cast

import orjson
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from functions.http.auth import ADMINISTRATOR, OPERATOR, READER, Caller
from shared.domain.commands import StartRun, parse_request
from shared.domain.policy import PlatformPolicy
from shared.domain.run import Run, Status
from shared.ports import Services
from shared.records import uploads
from shared.runner import Runner
from shared.step_support.candidate import approvals_missing, candidate_sha256, objection
from shared.steps.receive_dataset import receive_dataset
from tests.unit.functions.http.support import RESOLVED, enter
from tests.unit.shared.support import RESULT, ROW, VERDICT, drop, take

PEOPLE = {"ada": OPERATOR, "bob": OPERATOR, "carol": OPERATOR, "dave": OPERATOR, "root": ADMINISTRATOR}
BASE = "droptune/tiny-llama"
RECIPE, HELD_OUT = b"deployment: {approval: required}\n", ROW * 2
NOBODY, APP = "nobody known", "alice's pipeline"
Expected = frozenset[str]


class Project:
    """A project's files, with who wrote each of them last as the test knows it."""

    def __init__(self, name: str, client: TestClient, services: Services) -> None:
        self.name, self.client, self.services = name, client, services
        self.content = ROW + name.encode() + b"\n"
        self.writers: dict[str, str] = {}

    def as_(self, person: str) -> TestClient:
        is_person, role = person != APP, PEOPLE.get(person, ADMINISTRATOR)
        caller = Caller(person, frozenset({role, READER, OPERATOR}), id=person, is_person=is_person)
        cast(FastAPI, self.client.app).state.authenticator = lambda: lambda request: caller
        return self.client

    def put(self, name: str, content: bytes, writer: str | None) -> None:
        """By a person, and where that is nobody known, then again in the storage: the same bytes."""
        if writer is None:
            return
        answer = self.as_("ada" if writer is NOBODY else writer).put(
            f"/api/datasets/{self.name}/{name}", content=content
        )
        assert answer.status_code == 201
        if writer is NOBODY:
            self.services.blobs.write(f"datasets/{self.name}/{name}", [content])
        self.writers[name] = writer

    def upload(self, name: str, content: bytes, writer: str) -> str:
        """Over /v1/files, by ada or an app."""
        form = {"files": {"file": (name, content)}, "data": {"purpose": "fine-tune"}}
        file_id = str(self.as_(APP if writer is APP else "ada").post("/v1/files", **form).json()["id"])  # type: ignore[arg-type]
        if writer is NOBODY:
            self.services.blobs.write(f"datasets/_files/{file_id}", [content])
        self.writers[file_id] = writer
        return file_id

    def received(self) -> Run:
        [message] = take(self.services, "storage-events")
        return self.receive(parse_request(orjson.loads(message.message.body)))

    def receive(self, request: object) -> Run:
        reception = receive_dataset(cast(StartRun, request), self.services)
        assert reception is not None
        return Runner(self.services).create(reception, request.id, request.wire_type)  # type: ignore[attr-defined]

    def of(self, *files: str) -> Expected:
        return frozenset(self.writers[name] for name in files if name in self.writers)


def check(run: Run, expected: Expected, requester: str | None) -> None:
    """What the run says, and whom that bars."""
    known = tuple(sorted(expected - {NOBODY}))
    assert run.uploader_ids == (None if NOBODY in expected else known)
    assert run.known_uploader_ids == known
    assert run.requester_id == requester
    candidate = run.evolve(evaluation=RESULT, verdict=VERDICT, recipe=RESOLVED)
    assert approvals_missing(candidate, PlatformPolicy()) == (2 if NOBODY in expected else 1)
    barred = {*known, *([requester] if requester else [])}
    for person in PEOPLE:
        refused = objection(candidate, person, candidate_sha256(candidate), PlatformPolicy())
        assert (person, refused.code if refused else None) == (person, "self_approval" if person in barred else None)


def retried(run: Run, project: Project, person: str) -> Run:
    failed = enter(project.services, run, Status.FAILED, recipe=RESOLVED) if not run.terminal else run
    assert project.as_(person).post(f"/api/runs/{failed.id}/retry").status_code == 202
    return project.received()


# Who wrote data, the project's recipe, and its held-out rows; None: there is no such file.
WRITERS = list(product(("ada", NOBODY), (None, "bob", NOBODY), (None, "dave", NOBODY)))


@pytest.mark.few_cases(6)
@pytest.mark.parametrize(("train", "recipe", "held_out"), WRITERS)
def test_a_dropped_file_its_retries_its_orders_and_its_schedule(
    client: TestClient, services: Services, train: str, recipe: str | None, held_out: str | None
) -> None:
    project = Project("shop", client, services)
    project.put("recipe.yaml", RECIPE, recipe)
    project.put("eval.jsonl", HELD_OUT, held_out)
    project.put("train.jsonl", project.content, train)
    dropped = drop(services, Runner(services), "datasets/shop/train.jsonl", text=None)
    assert dropped is not None
    expected, by = project.of("train.jsonl", "recipe.yaml", "eval.jsonl"), None if train is NOBODY else train
    check(dropped, expected, by)
    first = retried(dropped, project, "ada")
    check(first, expected, "ada")
    check(retried(first, project, "carol"), expected, "carol")
    assert project.as_("root").post("/api/runs", json={"dataset": "shop/train.jsonl"}).status_code == 202
    check(project.received(), expected, "root")
    path = "datasets/shop/train.jsonl"
    info = services.blobs.info(path)
    assert info is not None
    schedule = StartRun(path=path, etag=info.etag, key="retrain-x-1", parent_run=dropped.id)
    scheduled = project.receive(schedule)
    check(scheduled, expected, by)
    assert scheduled.status is Status.DUPLICATE, "nothing is new, whoever uploaded it"


# With held-out rows of its own a job does not read the project's.
JOBS = [(*case, None) for case in WRITERS] + [(*case, own) for case in WRITERS[2::3] for own in ("ada", NOBODY)]


@pytest.mark.few_cases(6)
@pytest.mark.parametrize(
    ("asker", "train", "recipe", "held_out", "own_held_out"),
    [(("ada", "root")[number % 2], *case) for number, case in enumerate(JOBS)],
)
def test_a_job_of_openais_client_and_its_retries(
    client: TestClient,
    services: Services,
    asker: str,
    train: str,
    recipe: str | None,
    held_out: str | None,
    own_held_out: str | None,
) -> None:
    """The app writes its files: the data are their uploader's, the recipe is who asks' and the project's."""
    project = Project("shop", client, services)
    project.put("recipe.yaml", RECIPE, recipe)
    project.put("eval.jsonl", HELD_OUT, held_out)
    training = project.upload("t.jsonl", project.content, train)
    body, files = {"model": BASE, "suffix": "shop", "training_file": training}, [training, "recipe.yaml", "eval.jsonl"]
    if own_held_out is not None:
        files[2] = body["validation_file"] = project.upload("e.jsonl", HELD_OUT, own_held_out)
    assert project.as_(asker).post("/v1/fine_tuning/jobs", json=body).status_code == 200
    # A recipe that is made of one of nobody known is of nobody known either.
    makers = frozenset() if recipe is NOBODY else frozenset({asker})
    run, expected = project.received(), project.of(*files) | makers
    check(run, expected, asker)
    run = retried(run, project, "ada")
    check(run, expected, "ada")
    run = retried(run, project, "carol")
    check(run, expected, "carol")
    services.blobs.write(run.dataset.path, [project.content])
    check(retried(run, project, "carol"), project.of(*files[1:]) | makers | {NOBODY}, "carol")


@pytest.mark.parametrize("way", ["train.jsonl", "recipe.yaml", "eval.jsonl", "file", "asks", "retries", "makes a job"])
def test_what_an_app_uploads_or_asks_for_is_of_nobody_known(client: TestClient, services: Services, way: str) -> None:
    """Else whose app it is would approve what the app uploaded."""
    project, by = Project("shop", client, services), cast(str | None, "ada")
    for name, content in {"recipe.yaml": RECIPE, "eval.jsonl": HELD_OUT, "train.jsonl": project.content}.items():
        project.put(name, content, APP if name == way else "ada")
    run = drop(services, Runner(services), "datasets/shop/train.jsonl", text=None)
    assert run is not None
    if way == "train.jsonl":
        by = None
    elif way == "retries":
        run, by = retried(run, project, APP), None
    elif way == "asks":
        assert project.as_(APP).post("/api/runs", json={"dataset": "shop/train.jsonl"}).status_code == 202
        run, by = project.received(), None
    elif way in ("file", "makes a job"):
        file_id = project.upload("t.jsonl", project.content, APP if way == "file" else "ada")
        body = {"model": BASE, "suffix": "shop", "training_file": file_id}
        by = "root" if way == "file" else None
        assert project.as_(by or APP).post("/v1/fine_tuning/jobs", json=body).status_code == 200
        run = project.received()
    check(run, frozenset({"ada", NOBODY, *(["root"] if way == "file" else [])}), by)


def test_an_event_that_is_faster_than_the_answer_of_the_upload_knows_who_uploads(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, write, runs = Project("shop", client, services), services.blobs.write, list[Run | None]()

    def faster(path: str, *arguments: object, **options: object) -> object:
        info = write(path, *arguments, **options)  # type: ignore[arg-type]
        runs.append(drop(services, Runner(services), path, text=None))
        return info

    monkeypatch.setattr(services.blobs, "write", faster)
    project.put("train.jsonl", project.content, "ada")
    [run] = runs
    assert run is not None
    check(run, frozenset({"ada"}), "ada")


def test_an_upload_that_fails_leaves_nobody_whose_the_same_content_is(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project("shop", client, services)

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(services.blobs, "write", full)
        with pytest.raises(OSError, match="no space"):
            project.put("train.jsonl", project.content, "ada")
    run = drop(services, Runner(services), text=project.content)
    assert run is not None
    check(run, frozenset({NOBODY}), None)
    assert uploads.uploaders(services.store, run.dataset.path, run.dataset.etag, run.dataset.sha256) is None
