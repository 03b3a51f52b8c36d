"""JSON Schema of an answer: draft 2020-12, its patterns in RE2, nothing fetched from anywhere."""

import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any
from urllib.parse import urljoin

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from shared.grading.errors import GradingErrorCode, GradingFailed
from shared.grading.templates import compiled


def _pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not compiled(pattern).search(instance):
        yield ValidationError("does not match the pattern")


def _frozen(value: Any) -> Any:
    """Equal for values that JSON Schema calls equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, dict):
        return frozenset((key, _frozen(part)) for key, part in value.items())
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    return (bool, value) if isinstance(value, bool) else value


def _unique(_: Any, unique: bool, instance: Any, __: Any) -> Iterator[ValidationError]:
    """In time linear in the array, as `_enum` is: the library compares each two."""
    if unique and isinstance(instance, list) and len(set(map(_frozen, instance))) < len(instance):
        yield ValidationError("holds a value twice")


def _enum(_: Any, values: list[Any], instance: Any, __: Any) -> Iterator[ValidationError]:
    if _frozen(instance) not in _known(values):
        yield ValidationError("is none of the values")


_kept: dict[int, tuple[list[Any], frozenset[Any]]] = {}
_KEPT_MAX = 256


def _known(values: list[Any]) -> frozenset[Any]:
    """Kept by the list itself, which an array's items are compared with one by one."""
    if (kept := _kept.get(id(values))) is None:
        if len(_kept) >= _KEPT_MAX:
            _kept.clear()
        kept = _kept[id(values)] = (values, frozenset(map(_frozen, values)))
    return kept[1]


_left: ContextVar[int] = ContextVar("parts of the schema that may still be applied to parts of the value")


def _counted(check: Any) -> Any:
    """Keywords with schemas for the same value can double the work at each level: 30 of them take a week."""

    def counted(*given: Any) -> Any:
        _left.set(_left.get() - 1)
        if _left.get() < 0:
            raise GradingFailed(GradingErrorCode.OTHER, "the schema takes too long")
        return check(*given)

    return counted


_IN_PLACE = ("$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "not", "if", "dependentSchemas")
_Validator = extend(
    Draft202012Validator,
    {"pattern": _pattern, "uniqueItems": _unique, "enum": _enum}
    | {name: _counted(Draft202012Validator.VALIDATORS[name]) for name in _IN_PLACE},
)

_META = Draft202012Validator.META_SCHEMA
_VOCABULARIES = [REGISTRY.contents(urljoin(_META["$id"], part["$ref"])) for part in _META["allOf"]]
# Keys that a schema of schemas says something of; any other may hold what it likes.
_KEYWORDS = frozenset(key for part in (_META, *_VOCABULARIES) for key in part["properties"])
_INNER = re.compile(r"#(/[$\w]+)*")
_TYPES = frozenset({"null", "boolean", "object", "array", "number", "string", "integer"})


def _is_type(value: Any) -> bool:
    return (type(value) is str and value in _TYPES) or (_are_names(value) and bool(value) and _TYPES.issuperset(value))


def _are_names(value: Any) -> bool:
    return type(value) is list and all(type(name) is str for name in value) and len(set(value)) == len(value)


def is_ordinary(schema: Any) -> bool:
    """Whether it is surely valid. The schema of schemas takes two milliseconds to say so, a hundred times as long."""
    if type(schema) is not dict:
        return type(schema) is bool
    return all(_CHECKS[key](value) if key in _CHECKS else key not in _KEYWORDS for key, value in schema.items())


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "type": _is_type,
    "required": _are_names,
    **dict.fromkeys(
        ("properties", "$defs", "definitions"),
        lambda value: type(value) is dict and all(map(is_ordinary, value.values())),
    ),
    **dict.fromkeys(
        ("anyOf", "oneOf", "allOf"), lambda value: type(value) is list and bool(value) and all(map(is_ordinary, value))
    ),
    **dict.fromkeys(("items", "additionalProperties", "not"), is_ordinary),
    **dict.fromkeys(("default", "const"), lambda value: True),
    **dict.fromkeys(("enum", "examples"), lambda value: type(value) is list),
    **dict.fromkeys(("title", "description", "format"), lambda value: type(value) is str),
    **dict.fromkeys(
        ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
        lambda value: type(value) is int and value >= 0,
    ),
    **dict.fromkeys(
        ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), lambda value: type(value) in (int, float)
    ),
    **dict.fromkeys(("uniqueItems", "deprecated", "readOnly", "writeOnly"), lambda value: type(value) is bool),
    "pattern": lambda value: type(value) is str,
    "$ref": lambda value: type(value) is str and _INNER.fullmatch(value) is not None,
}

# Keywords of a schema that is checked by the schema of schemas: two milliseconds each.
_CHECKED_MAX = 1000


class Schema:
    """Raises ValueError, with a message for the user, if the schema is not valid."""

    def __init__(self, document: dict[str, Any]) -> None:
        try:
            settings = list(_settings(document))
            if not is_ordinary(document):
                if len(settings) > _CHECKED_MAX:
                    raise ValueError(f"of its keywords not all are common ones, and it has more than {_CHECKED_MAX}")
                # No formats: of a pattern RE2 decides.
                Draft202012Validator.check_schema(document, format_checker=None)
        except SchemaError as error:
            raise ValueError(f"{error.json_path.removeprefix('$.')}: {error.message}") from error
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
        resolver = Registry().with_resource("", DRAFT202012.create_resource(document)).resolver()
        for key, value in settings:
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
        """Whether the value fits. Raises GradingFailed if the schema goes round in circles or takes too long."""
        _left.set(2_000 + 10 * len(str(value)))
        try:
            return bool(self._validator.is_valid(value))
        except RecursionError as error:
            raise GradingFailed(GradingErrorCode.OTHER, "the schema goes round in circles") from error


def _settings(node: Any, levels: int = 150) -> Iterator[tuple[str, Any]]:
    """Raises ValueError for more levels than any reader of the document takes."""
    if not levels:
        raise ValueError("it is nested too deeply")
    if isinstance(node, dict):
        yield from node.items()
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _settings(child, levels - 1)
