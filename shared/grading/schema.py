"""JSON Schema of an answer: draft 2020-12, its patterns in RE2, nothing fetched from anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from shared.grading.errors import GradingErrorCode, GradingFailed
from shared.grading.patterns import compiled


def _pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not compiled(pattern).search(instance):
        yield ValidationError("does not match the pattern")


_Validator = extend(Draft202012Validator, {"pattern": _pattern})


class Schema:
    """Raises ValueError, with a message for the user, if the schema is not valid."""

    def __init__(self, document: dict[str, Any]) -> None:
        try:
            Draft202012Validator.check_schema(document)
        except SchemaError as error:
            raise ValueError(f"{error.json_path.removeprefix('$.')}: {error.message}") from error
        resolver = Registry().with_resource("", DRAFT202012.create_resource(document)).resolver()
        for key, value in _settings(document):
            if key == "pattern" and isinstance(value, str):
                compiled(value)
            elif key == "patternProperties":
                raise ValueError("patternProperties is not supported")
            elif key in ("$ref", "$dynamicRef") and isinstance(value, str):
                try:
                    resolver.lookup(value)
                except Unresolvable as error:
                    raise ValueError(f"{key} {value} leads nowhere inside the schema") from error
        self._validator = _Validator(document, registry=Registry())

    def holds(self, value: Any) -> bool:
        """Whether the value fits."""
        try:
            return bool(self._validator.is_valid(value))
        except RecursionError as error:
            raise GradingFailed(GradingErrorCode.OTHER, "the schema goes round in circles") from error


def _settings(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        yield from node.items()
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _settings(child)
