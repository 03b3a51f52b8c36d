"""A blob was created in the drop zone: pin it, hash it, see whether it is new."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.domain import paths
from shared.domain.dataset import DatasetRef
from shared.domain.errors import BlobNotFound, InvalidInput, Transient
from shared.domain.events import DatasetUploaded
from shared.domain.run import Run, Status
from shared.ports import BlobInfo, Services
from shared.records import claims, runs
from shared.step_support.outcome import Draft

BLOB_CREATED = "Microsoft.Storage.BlobCreated"
RECIPE_NAME = "recipe.yaml"


@dataclass(frozen=True, slots=True)
class Reception:
    """A run to create (history and deadline are the runner's), with what to publish."""

    run: Run
    events: tuple[Draft, ...]


def blob_path(event: dict[str, Any]) -> str:
    """`datasets/<project>/<name>` from a BlobCreated event of Event Grid.

    Raises InvalidInput `not_a_blob_event`.
    """
    subject = str(event.get("subject", ""))
    container, separator, name = subject.removeprefix("/blobServices/default/containers/").partition("/blobs/")
    if event.get("type") != BLOB_CREATED or not separator or container != paths.DATASETS:
        raise InvalidInput("not_a_blob_event", f"type {event.get('type')!r}, subject {subject!r}", "subject")
    return f"{container}/{name}"


def starts_a_run(path: str) -> bool:
    """Whether a blob starts a run by being there. A recipe and a held-out set start none.

    Nor does what lies in a folder that begins with `_`: the API keeps its uploads there and asks for their runs.
    """
    _, *folders, name = path.split("/")
    asked_for = any(folder.startswith("_") for folder in folders)
    return bool(folders) and not asked_for and name != RECIPE_NAME and not name.startswith("eval")


def receive_dataset(event: dict[str, Any], services: Services) -> Reception | None:
    """None if the blob starts no run, or is gone by now.

    Raises InvalidInput `not_a_blob_event`, Transient `claim_without_run`.
    """
    path = blob_path(event)
    info = services.blobs.info(path)
    if info is None or not (starts_a_run(path) or event.get("requested_by")):
        return None
    project, key = path.split("/")[1], str(event.get("idempotency_key") or "")
    try:
        dataset = _pin(info, services)
        fingerprint = _fingerprint(path, services)
    except BlobNotFound:
        return None
    run_id = run_id_of_blob(path, info.etag, key)
    now = services.clock.now()
    run = Run(
        id=run_id,
        project=project,
        status=Status.RECEIVED,
        revision=1,
        attempt=1,
        created_at=now,
        updated_at=now,
        deadline_at=None,
        dataset=dataset,
        fingerprint=fingerprint,
        requested_by=event.get("requested_by"),
        parent_run=event.get("parent_run"),
    )
    claim = claims.dataset_claim(project, dataset.sha256, fingerprint)
    owner = claims.take(services.store, claim, run_id, now)
    # Whoever sends a key asks for another run. The key of a schedule only names its run.
    if owner != run_id and not (key and run.requested_by):
        if not runs.exists(services.store, owner):
            # Its creator died, or is about to write it; `reconcile` sweeps a claim that nobody follows up.
            raise Transient("claim_without_run", f"{owner} claims the same data and does not exist yet", claim)
        return Reception(run.evolve(status=Status.DUPLICATE, duplicate_of=owner), ())
    draft = Draft(DatasetUploaded(path=path, sha256=dataset.sha256, size_bytes=dataset.size_bytes))
    return Reception(run, (draft,))


def settles_at(event: dict[str, Any], services: Services) -> datetime | None:
    """When a blob that was changed just now may be read; None if it is old enough or gone."""
    info = services.blobs.info(blob_path(event))
    if info is None:
        return None
    due = info.modified_at + timedelta(seconds=services.config.debounce_s)
    return due if services.clock.now() < due else None


def recipe_file(dataset: str, services: Services) -> BlobInfo | None:
    """`recipe.yaml` beside the dataset at this path, else the project's."""
    return next(filter(None, (services.blobs.info(f"{folder}/{RECIPE_NAME}") for folder in _folders(dataset))), None)


def held_out_file(dataset: str, services: Services) -> BlobInfo | None:
    """The held-out set beside the dataset, else the project's: the folder's first `eval*` blob by name."""
    found = (next(services.blobs.list(f"{folder}/eval"), None) for folder in _folders(dataset))
    return next(filter(None, found), None)


def _folders(dataset: str) -> dict[str, None]:
    """The dataset's own and its project's, which mostly are one."""
    project = "/".join(dataset.split("/")[:2])
    return dict.fromkeys((dataset.rsplit("/", 1)[0], project))


def run_id_of_blob(path: str, etag: str, idempotency_key: str = "") -> str:
    """The same blob version gives the same run, however often its event arrives."""
    text = "\n".join((path, etag, idempotency_key))
    return f"run-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _pin(info: BlobInfo, services: Services) -> DatasetRef:
    digest = hashlib.sha256()
    for chunk in services.blobs.read(info.path):
        digest.update(chunk)
    return DatasetRef(path=info.path, etag=info.etag, size_bytes=info.size_bytes, sha256=digest.hexdigest())


def _fingerprint(dataset: str, services: Services) -> str:
    """Hash of what else decides the outcome: another recipe, base model or held-out set makes the same data new."""
    held_out = held_out_file(dataset, services)
    recipe = recipe_file(dataset, services)
    digest = hashlib.sha256(b"" if recipe else services.config.default_base_model.encode())
    for part in (recipe, held_out):
        for chunk in services.blobs.read(part.path) if part else ():
            digest.update(chunk)
        digest.update(b"\0")
    return digest.hexdigest()[:16]
