"""Microsoft's published definitions of resource types, and what a body has against them.

`published.json` is JSON Schema, written by `tests/published_types.py` from the models of Microsoft's Python packages.
"""

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

FILE = Path(__file__).with_suffix(".json")

Schema = dict[str, Any]
Keyword = Callable[[Any, Any, Any, Schema], Iterator[ValidationError]]


@cache
def _read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text())
    return content


def is_known(resource: str) -> bool:
    """Whether the file has a TYPE@VERSION."""
    return resource in _read(FILE)["resources"]


def versions(kind: str) -> set[str]:
    """Those of a type that the file has. Azure ML's types share theirs: in Azure/azure-rest-api-specs one document for
    each version has them all."""
    prefix = "Microsoft.MachineLearningServices/"
    begins = prefix if kind.startswith(prefix) else f"{kind}@"
    return {one.partition("@")[2] for one in _read(FILE)["resources"] if one.startswith(begins)}


def problems(resource: str, body: Any, *, answer: bool = False, file: Path = FILE) -> Iterator[str]:
    """What is against `body` as a TYPE@VERSION that is known: as a request or, where the service sent it, an answer."""
    found = _read(file)
    schema = {"$ref": f"#/$defs/{found['resources'][resource]}", "$defs": found["$defs"]}
    for error in (_ANSWER if answer else _REQUEST)(schema).iter_errors(body):
        yield f"{error.json_path.lstrip('$.')} {error.message}".lstrip()


def resource_of(path: str) -> tuple[str, str]:
    """Type and name of the resource at an ARM path."""
    provider, *segments = path.rpartition("/providers/")[2].split("/")
    return "/".join([provider, *segments[::2]]), segments[-1]


def _discriminator(validator: Any, chosen: Schema, instance: Any, _: Schema) -> Iterator[ValidationError]:
    """The keyword of OpenAPI: one field says which schema holds."""
    kind = instance.get(chosen["propertyName"])
    if kind in chosen["mapping"]:
        yield from validator.descend(instance, chosen["mapping"][kind])
    else:
        yield ValidationError(f"{chosen['propertyName']} is {kind!r}, known are {', '.join(chosen['mapping'])}")


def _refused(*_: Any) -> Iterator[ValidationError]:
    yield ValidationError("is read-only, or never answered")


def _if_known(keyword: Keyword) -> Keyword:
    """Only literals are compared: not what is left out (null), nor what is known at deployment (an Expr)."""

    def check(validator: Any, value: Any, instance: Any, schema: Schema) -> Iterator[ValidationError]:
        if isinstance(instance, dict | list | str | int | float):
            yield from keyword(validator, value, instance, schema) or ()

    return check


def _validator(refused: str) -> Any:
    keywords = {**Draft202012Validator.VALIDATORS, "discriminator": _discriminator}
    known = {name: _if_known(keyword) for name, keyword in keywords.items()}
    return extend(Draft202012Validator, {**known, refused: _refused})


_REQUEST, _ANSWER = _validator("readOnly"), _validator("writeOnly")
