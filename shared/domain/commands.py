"""Our own messages of the queues `storage-events` and `job-events`, as CloudEvents 1.0; they name who asks for what."""

from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, Field, ValidationError

from shared.domain.errors import InvalidInput, shortened
from shared.domain.inbound import MAX_URL, location_of
from shared.domain.model import MAX_PERSON, Lenient
from shared.domain.paths import DATASETS, run_id_of_blob
from shared.domain.recipe import Name

C = TypeVar("C", bound=BaseModel)

SOURCE = "/droptune"
MAX_KEY = 200  # characters
_BLOBS_OF = "/blobServices/default/containers/"


class StartRun(Lenient):
    """Start a run for one version of a blob in the drop zone. The same command gives the same run."""

    wire_type: ClassVar[str] = "droptune.run.start.v1"

    path: str = Field(pattern=f"^{DATASETS}/.+$")
    etag: str = Field(min_length=1, max_length=MAX_KEY)
    key: str = Field(default="", max_length=MAX_KEY, description="another key for the same version is another run")
    requested_by: str | None = Field(
        default=None, max_length=MAX_PERSON, description="the person who asked over the API"
    )
    requester_id: str | None = Field(default=None, max_length=MAX_PERSON)
    parent_run: str | None = Field(
        default=None, max_length=MAX_KEY, description="the run this one repeats, or whose schedule asks for it"
    )

    @property
    def id(self) -> str:
        """The id of the run it starts."""
        return run_id_of_blob(self.path, self.etag, self.key)


class InspectJob(Lenient):
    """Look at a job of which no event came. `poll` tells apart one look from the next."""

    wire_type: ClassVar[str] = "droptune.job.inspect.v1"

    job: str = Field(min_length=1, max_length=MAX_KEY)
    poll: str = Field(min_length=1, max_length=MAX_KEY)

    @property
    def id(self) -> str:
        return f"{self.job}.poll.{self.poll}"


class BlobCreated(Lenient):
    """Event Grid's event of a blob in the drop zone, as far as it is read here. Its run has no key and no requester."""

    wire_type: ClassVar[str] = "Microsoft.Storage.BlobCreated"

    id: str
    path: str
    key: str = ""
    requested_by: None = None
    requester_id: None = None
    parent_run: None = None


class CopyBlob(Lenient):
    """Copy a blob of an account that the project allows into the drop zone; being there starts its run."""

    wire_type: ClassVar[str] = "droptune.blob.copy.v1"

    project: Name
    url: str = Field(max_length=MAX_URL)
    key: str = Field(min_length=1, max_length=MAX_KEY, description="of the event that asks")

    @property
    def id(self) -> str:
        return f"copy-{self.key}"

    @property
    def path(self) -> str:
        return location_of(self.url).copied_to(self.project)


Command = StartRun | InspectJob | CopyBlob


def to_cloudevent(command: Command) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": command.id,
        "type": command.wire_type,
        "source": SOURCE,
        "datacontenttype": "application/json",
        "data": command.model_dump(mode="json"),
    }


def copy_of(body: dict[str, Any]) -> CopyBlob | None:
    """The command, if the body is one. Raises InvalidInput `malformed_command`."""
    return _command(CopyBlob, body) if body.get("type") == CopyBlob.wire_type else None


def parse_request(body: dict[str, Any]) -> StartRun | BlobCreated:
    """What asks for a run: a command or an event. Raises InvalidInput: `malformed_command`, `not_a_blob_event`."""
    if body.get("type") == StartRun.wire_type:
        return _command(StartRun, body)
    subject = str(body.get("subject", ""))
    container, separator, name = subject.removeprefix(_BLOBS_OF).partition("/blobs/")
    if body.get("type") != BlobCreated.wire_type or not separator or container != DATASETS:
        raise InvalidInput("not_a_blob_event", f"type {body.get('type')!r}, subject {subject!r}", "subject")
    return BlobCreated(id=shortened(str(body.get("id", "")), MAX_KEY), path=f"{container}/{name}")


def job_of(body: dict[str, Any]) -> str:
    """The job that a body is about, else empty. Raises InvalidInput: `malformed_command`, `malformed_event`."""
    if body.get("type") == InspectJob.wire_type:
        return _command(InspectJob, body).job
    data = body.get("data", {})
    if not isinstance(data, dict):
        raise InvalidInput("malformed_event", "the data of a job's event is not an object", "data")
    return str(data.get("runId", ""))


def _command(cls: type[C], body: dict[str, Any]) -> C:
    try:
        return cls.model_validate(body.get("data"))
    except ValidationError as error:
        raise InvalidInput("malformed_command", str(error), "data") from error
