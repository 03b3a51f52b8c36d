"""Events of other systems, as CloudEvents 1.0 or in Event Grid's own schema, and the blobs that they are about."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import orjson
from pydantic import Field, ValidationError

from shared.domain.beside import read_beside
from shared.domain.errors import InvalidInput
from shared.domain.model import Lenient
from shared.domain.paths import DATASETS

MAX_EVENTS, MAX_URL = 100, 4096  # of one batch; characters
_TABLES: dict[str, dict[str, Any]] = read_beside(__file__)
_JSON, _URL = (re.compile(_TABLES["patterns"][name]) for name in ("json", "url"))


class Incoming(Lenient):
    """One event, whichever schema it came in."""

    id: str = Field(min_length=1, max_length=1024)
    source: str = Field(min_length=1, max_length=2048)
    type: str = Field(min_length=1, max_length=200)
    data: dict[str, Any] = Field(default_factory=dict)

    def text(self, name: str, pattern: str) -> str:
        """Of its data. Raises InvalidInput `malformed_event`."""
        value = self.data.get(name)
        if not isinstance(value, str) or len(value) > MAX_URL or not re.fullmatch(pattern, value):
            raise malformed(f"{self.type} has a text {name} of the form {pattern}", f"data.{name}")
        return value

    def blob_url(self) -> str | None:
        """If it is an event of storage; None while the blob is empty. Raises InvalidInput `unknown_event_type`."""
        if self.type not in _TABLES["urls"]:
            raise InvalidInput("unknown_event_type", f"nothing is done at an event of type {self.type!r}", "type")
        is_empty = self.data.get("api") in _TABLES["empty"].get(self.type, ())
        return None if is_empty else self.text(_TABLES["urls"][self.type], "https://.+")


def malformed(message: str, param: str) -> InvalidInput:
    return InvalidInput("malformed_event", message, param)


def read_events(content_type: str, attributes: Mapping[str, str], body: bytes) -> list[Incoming]:
    """Of one request or message; `attributes` are those of the binary mode, without their prefix.

    Raises InvalidInput `unsupported_format`, `malformed_event`, `too_many_events`.
    """
    if not _JSON.fullmatch(content_type.partition(";")[0].strip()):
        raise InvalidInput("unsupported_format", f"events are JSON, not {content_type!r}", "content-type")
    try:
        given = orjson.loads(body or b"{}") if attributes else orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise malformed("the body is not JSON in UTF-8", "body") from error
    found = [{**attributes, "data": given}] if attributes else given if isinstance(given, list) else [given]
    if len(found) > MAX_EVENTS:
        raise InvalidInput("too_many_events", f"{len(found)} events: send at most {MAX_EVENTS} together", "body")
    return [_event(one) for one in found]


def _event(given: object) -> Incoming:
    if not isinstance(given, dict):
        raise malformed("an event is an object", "body")
    if "eventType" in given:  # Event Grid's own schema
        given = {**given, "source": given.get("topic"), "type": given["eventType"]}
    elif given.get("specversion") != "1.0":
        raise malformed("it has neither specversion 1.0 nor an eventType", "specversion")
    try:
        return Incoming.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise malformed(f"{first['loc'][0]}: {first['msg']}", str(first["loc"][0])) from error


class Location(NamedTuple):
    """A blob of Azure Storage, or a file of OneLake; `path` begins with the container, or the workspace."""

    account: str
    cloud: str
    path: str

    @property
    def endpoint(self) -> str:
        return f"https://{self.account}.blob.{self.cloud}"

    @property
    def url(self) -> str:
        return f"{self.endpoint}/{quote(self.path)}"

    def is_within(self, allowed: tuple[str, ...]) -> bool:
        """Of entries `ACCOUNT/CONTAINER`, or of a folder in it."""
        return f"{self.account}/{self.path}".startswith(tuple(one.rstrip("/") + "/" for one in allowed))

    def copied_to(self, project: str) -> str:
        """Where it is in the drop zone: files of one folder stay together, so that a recipe finds its dataset."""
        folder, _, name = self.path.rpartition("/")
        mark = hashlib.sha256(f"{self.endpoint}/{folder}".encode()).hexdigest()[:8]
        return f"{DATASETS}/{project}/{self.account}-{mark}/{name}"


def location_of(url: str) -> Location:
    """Of a URL at the endpoint `blob` or `dfs`. Raises InvalidInput `bad_storage_url`, also for a token in it."""
    plain = "" if set("?#") & set(url) or len(url) > MAX_URL else unquote(url)
    if (found := _URL.fullmatch(plain)) is None:
        message = "it is not https://ACCOUNT.blob.core.windows.net/CONTAINER/NAME (or dfs, or OneLake), without a token"
        raise InvalidInput("bad_storage_url", message, "url")
    return Location(*found.groups())
