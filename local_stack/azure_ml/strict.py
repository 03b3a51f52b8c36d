"""What the service would refuse: unknown keys, bad names, changed immutable fields, bad traffic."""

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from local_stack.azure_ml import published

Document = dict[str, Any]

# Azure docs, "Manage and increase quotas": 3 to 32 characters, and only single dashes.
ENDPOINT_NAME = re.compile(r"(?=.{3,32}$)[a-zA-Z][a-zA-Z0-9]*(?:-[a-zA-Z0-9]+)*")
_API_VERSION = re.compile(r"20\d\d-[01]\d-[0-3]\d(-preview)?")
JOB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}")
# Azure docs: the only fields of a job that may change after it was created.
MUTABLE_JOB_FIELDS = frozenset({"tags", "displayName", "description", "properties", "isArchived"})

# Body keys per resource that are emulated; `*` is any key, below `true` all are.
KEYS: Document = json.loads(Path(__file__).with_name("known_fields.json").read_text())


class ArmError(Exception):
    """An error answer of the Azure Resource Manager."""

    def __init__(self, status: int, code: str, message: str, *details: Document) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.details = status, code, message, list(details)


def user_error(message: str) -> ArmError:
    return ArmError(400, "UserError", message)


def invalid_request(code: str, field: str, problem: str) -> ArmError:
    """What the service behind online endpoints refuses, as github.com/MicrosoftLearning/mslearn-azure-ml/issues/30 and
    github.com/Azure/azure-sdk-for-python/issues/35109 have it."""
    detail = json.dumps({"errors": {field: [problem]}, "title": "One or more validation errors occurred."})
    return ArmError(400, "BadRequest", "The request is invalid.", {"code": code, "message": detail})


def check_version(path: str, version: str | None) -> None:
    """The answer of Resource Manager, in the words of github.com/MicrosoftDocs/feedback/issues/2279 and of Azure docs,
    "Resolve errors for resource provider registration". Of a type without a published definition any date is taken."""
    if version is None:
        message = "The api-version query parameter (?api-version=) is required for all requests."
        raise ArmError(400, "MissingApiVersionParameter", message)
    kind = published.resource_of(path)[0]
    supported = published.versions(kind)
    if version not in supported if supported else not _API_VERSION.fullmatch(version):
        message = f"No registered resource provider found for location 'local' and API version '{version}' for type"
        listed = ", ".join(sorted(supported))
        message += f" '{kind.partition('/')[2]}'. The supported api-versions are '{listed}'."
        raise ArmError(400, "NoRegisteredProviderFound", message)


def check_body(path: str, version: str | None, body: Document) -> None:
    """Refuse what Microsoft's definition does not have, unknown fields too: the service would ignore them silently."""
    kind, name = published.resource_of(path)
    if not published.is_known(f"{kind}@{version}"):
        raise ArmError(400, "InvalidApiVersionParameter", f"the api-version '{version}' of {kind} is not emulated")
    if problem := next(published.problems(f"{kind}@{version}", {"name": name, **body}), None):
        raise user_error(problem)


def check_keys(kind: str, body: Document) -> None:
    """Refuse a key that is not emulated: what was asked for would not happen here."""
    _check_keys(body, KEYS[kind], kind)


def _check_keys(value: Any, known: Any, where: str) -> None:
    if not isinstance(known, Mapping) or value is None:
        return
    if not isinstance(value, Mapping):
        raise user_error(f"{where} must be an object")
    for key, child in value.items():
        if key not in known and "*" not in known:
            raise ArmError(501, "NotImplemented", f"the field '{where}.{key}' is not emulated")
        _check_keys(child, known.get(key, known.get("*")), f"{where}.{key}")


def check_name(kind: str, name: str, pattern: re.Pattern[str]) -> None:
    if not pattern.fullmatch(name):
        raise user_error(f"{kind} name '{name}' must match {pattern.pattern}")


_DURATION = TypeAdapter(timedelta)


def seconds(duration: str) -> float:
    """An ISO 8601 duration, as the REST API has them all."""
    try:
        return _DURATION.validate_python(duration).total_seconds()
    except ValidationError:
        raise user_error(f"'{duration}' is not an ISO 8601 duration") from None


def changed_field(old: Document, new: Document) -> str | None:
    """The first immutable field of a job that differs; an absent field equals an empty one."""
    for field in sorted((old.keys() | new.keys()) - MUTABLE_JOB_FIELDS):
        if (old.get(field) or None) != (new.get(field) or None):
            return field
    return None


def check_traffic(traffic: Mapping[str, Any], deployments: set[str]) -> None:
    """Azure docs: whole percentages that sum to 0 or 100, each of an existing deployment."""
    for name, share in traffic.items():
        if name not in deployments:
            raise user_error(f"traffic names the deployment '{name}', which does not exist")
        if not isinstance(share, int) or isinstance(share, bool) or not 0 <= share <= 100:
            raise user_error(f"traffic of '{name}' must be a whole number from 0 to 100, got {share!r}")
    if sum(traffic.values()) not in (0, 100):
        raise user_error(f"traffic must sum to 0 or 100, got {sum(traffic.values())}")


_DATASTORE_URI = re.compile(
    r"azureml://(?:subscriptions/[^/]+/resource[gG]roups/[^/]+/workspaces/[^/]+/)?"
    r"datastores/(?P<store>[^/]+)/paths/(?P<path>.*)"
)
_REGISTRY_URI = re.compile(
    r"azureml://registries/(?P<registry>[^/]+)/models/(?P<name>[^/]+)/versions/(?P<version>[^/]+)"
)


def local_path(uri: str, blob_root: Path) -> Path:
    """The folder or file a URI stands for: a datastore is a folder of the blob root, mounted live.

    Models of a registry lie under `registries/REGISTRY/models/NAME/versions/VERSION` of the blob root.
    """
    if match := _DATASTORE_URI.fullmatch(uri):
        path = blob_root / match["store"] / match["path"]
    elif match := _REGISTRY_URI.fullmatch(uri):
        path = blob_root / uri.removeprefix("azureml://").rstrip("/")
    else:
        raise user_error(f"'{uri}' is neither a datastore path nor a registry model")
    if not path.resolve().is_relative_to(blob_root.resolve()):
        raise user_error(f"'{uri}' leaves its datastore")
    return path
