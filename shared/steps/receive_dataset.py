"""A blob was created in the drop zone: pin it, hash it, see whether it is new."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.domain import paths
from shared.domain.commands import BlobCreated, CopyBlob, StartRun
from shared.domain.dataset import DatasetRef
from shared.domain.drop_zone import is_answered
from shared.domain.errors import RETRY_RULES, BlobNotFound, FailureClass, InvalidInput, PermanentFailure, Transient
from shared.domain.events import DatasetUploaded, RunFailed
from shared.domain.inbound import Location, location_of
from shared.domain.policy import PlatformPolicy
from shared.domain.run import Run, RunError, Status
from shared.ports import BlobInfo, Services
from shared.records import claims, policies, runs, uploads
from shared.step_support.dataset_files import held_out_file, pin_beside, pinned, recipe_files
from shared.step_support.outcome import Draft

# Times what a blob of some bytes waits.
EMPTY_WAITS = 30
BUSY = "project_is_busy"
MAX_TRIES = 1440  # once a minute: a blob is brought back from the archive tier in up to 15 hours
REMEDY = "bring it back from the archive tier, or let the app read it; then `droptune retry` the run"


@dataclass(frozen=True, slots=True)
class Reception:
    """A run to create (history and deadline are the runner's), with what to publish."""

    run: Run
    events: tuple[Draft, ...]


def receive_dataset(request: StartRun | BlobCreated, services: Services, tried: int = 0) -> Reception | None:
    """None if the blob starts no run, or is gone by now. What still cannot be read after enough tries fails its run.

    Raises InvalidInput `bad_blob_path`, Transient BUSY with the id of the run, `claim_without_run` or what a try met,
    StoreConflict if it is replaced meanwhile.
    """
    path, key = request.path, request.key
    info = services.blobs.info(path)
    if info is None or not (is_answered(path) or request.requested_by):
        return None
    project = path.split("/")[1]
    run_id, policy = paths.run_id_of_blob(path, info.etag, key), policies.read(services.store).policy
    if runs.are_begun(services.store, project, policy.runs_at_once) and not runs.exists(services.store, run_id):
        raise Transient(BUSY, f"{policy.runs_at_once} runs of {project} are being validated or trained", run_id)
    failed: PermanentFailure | Transient | None = None
    try:
        held_out, recipes = held_out_file(path, services), recipe_files(path, services)
        with _turn_to_read(info, held_out, run_id, services):
            dataset, (fingerprint, beside) = pinned(info, services), pin_beside(held_out, recipes, services)
    except BlobNotFound:
        return None
    except (PermanentFailure, Transient) as error:
        tries = MAX_TRIES if isinstance(error, Transient) else RETRY_RULES[error.failure_class].attempts
        if tried + 1 < tries:
            waiting = run_id if error.problem.code == BUSY else path
            raise Transient(error.problem.code, error.problem.message, waiting) from error
        dataset = DatasetRef(path=path, etag=info.etag, size_bytes=info.size_bytes, sha256="")
        fingerprint, beside, failed = "", None, error
    files = (dataset, *(beside.files if beside else ()))
    found = [uploads.uploaders(services.store, one.path, one.etag, one.sha256) for one in files]
    by, known = found[0], [one for one in found if one is not None]
    requester_known = bool(request.requester_id) or not request.requested_by  # else an app, for nobody known
    ids, now = tuple(sorted({id for one in known for id in one.ids})), services.clock.now()
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
        beside=beside,
        requested_by=request.requested_by or (by.name if by else None),
        requester_id=(request.requester_id or None) if request.requested_by else by.ids[0] if by else None,
        uploader_ids=ids if len(known) == len(files) and requester_known else None,
        known_uploader_ids=ids,
        parent_run=request.parent_run,
        retention_days=policy.retention_days(project, services.config.run_retention_days),
    )
    if failed is not None:
        message, failure_class = f"{failed.problem.message}; {REMEDY}", FailureClass.PLATFORM
        if isinstance(failed, PermanentFailure) and failed.failure_class is FailureClass.DATA:
            message, failure_class = failed.problem.message, failed.failure_class
        update = {"message": message, "param": failed.problem.param or path}
        fact = RunFailed(failure_class=failure_class, problem=failed.problem.model_copy(update=update))
        return Reception(run.evolve(status=Status.FAILED, error=RunError(**dict(fact))), (Draft(fact),))
    claim = claims.dataset_claim(project, dataset.sha256, fingerprint)
    owner = claims.take(services.store, claim, run.id, now)
    # A person who sends a key asks for another run. The key of a schedule only names its run.
    if owner != run.id and not (key and request.requested_by):
        if not runs.exists(services.store, owner):
            # Its creator died, or is about to write it; `reconcile` releases a claim that no run follows.
            raise Transient("claim_without_run", f"{owner} claims the same data and does not exist yet", claim)
        return Reception(run.evolve(status=Status.DUPLICATE, duplicate_of=owner), ())
    draft = Draft(DatasetUploaded(path=path, sha256=dataset.sha256, size_bytes=dataset.size_bytes))
    return Reception(run, (draft,))


def copy_blob(command: CopyBlob, services: Services) -> None:
    """Copy it into the drop zone, unless that was done since it was changed last.

    Raises InvalidInput `storage_account_not_allowed`, `file_too_large`, and what reading and writing meet.
    """
    place, blobs, limit = location_of(command.url), services.blobs, services.config.max_file_bytes
    require_allowed(place, command.project, policies.read(services.store).policy)
    source, copy = blobs.info(place.url), blobs.info(command.path)
    if source is None or not source.size_bytes:  # an event may come before the content
        raise Transient("source_is_empty", "there is no blob, or it has no bytes", command.url)
    if source.size_bytes > limit:
        raise InvalidInput("file_too_large", f"{source.size_bytes:,} bytes, MAX_FILE_BYTES is {limit:,}", command.url)
    if copy is None or copy.size_bytes != source.size_bytes or copy.modified_at <= source.modified_at:
        blobs.write(command.path, blobs.read(place.url, etag=source.etag))


def require_allowed(place: Location, project: str, policy: PlatformPolicy) -> None:
    """Raises InvalidInput `storage_account_not_allowed`."""
    own = policy.projects.get(project)
    if own is None or not place.is_within(own.storage_accounts):
        where = f"{place.account}/{place.path.partition('/')[0]}"
        message = f"{where} is not in projects.{project}.storage_accounts of the policy: an administrator adds it"
        raise InvalidInput("storage_account_not_allowed", message, "url")


@contextmanager
def _turn_to_read(info: BlobInfo, held_out: BlobInfo | None, run_id: str, services: Services) -> Iterator[None]:
    """Of a project's large files one is read at a time, copies of others too: reading takes from all projects.

    Raises Transient BUSY. What a process that died leaves, `reconcile` releases.
    """
    if max(info.size_bytes, held_out.size_bytes if held_out else 0) <= services.config.inline_validation_max_bytes:
        yield
        return
    project = info.path.split("/")[1]
    claim = claims.reading_claim(project)
    if (owner := claims.take(services.store, claim, run_id, services.clock.now())) != run_id:
        raise Transient(BUSY, f"a large file of {project} is being read for {owner}", run_id)
    try:
        yield
    finally:
        claims.release(services.store, claim, run_id)


def settles_at(path: str, services: Services) -> datetime | None:
    """When a blob that was changed just now may be read; None if it is old enough or gone."""
    info = services.blobs.info(path)
    if info is None:
        return None
    # Uploads over SFTP and NFS begin with an event of no bytes (learn.microsoft.com/azure/storage/blobs/
    # secure-file-transfer-protocol-support-how-to): the content may take minutes.
    factor = 1 if info.size_bytes else EMPTY_WAITS
    now, debounce = services.clock.now(), timedelta(seconds=services.config.debounce_s) * factor
    # One of a far future was written before the clock was set back.
    return info.modified_at + debounce if abs(now - info.modified_at) < debounce else None
