"""Resource bodies against Microsoft's published type definitions, a checkout of github.com/Azure/bicep-types-az.

The format of its `types.json` (a list of types that refer to each other by position) is that repository's own.
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from infra.gate.bicep import Expr, Infra, Resource
from infra.gate.finding import Finding, at

REQUIRED, READ_ONLY = 1, 2
# Bicep's own, and what follows from the declaration.
NOT_IN_THE_BODY = frozenset({"parent", "scope", "dependsOn", "id", "type", "apiVersion"})

Types = list[dict[str, Any]]


def findings(infra: Infra, checkout: Path) -> Iterator[Finding]:
    """Types that do not exist; properties that are unknown, missing, read-only or of another type."""
    for resource in infra.resources:
        found = _definition(checkout, resource)
        if found is None:
            yield Finding("types", at(resource), f"{resource.type}@{resource.version} is not published")
            continue
        types, definition = found
        body = {key: value for key, value in resource.body.items() if key not in NOT_IN_THE_BODY}
        for message in _compare(types, definition, body, resource.symbol):
            yield Finding("types", at(resource), message)


@cache
def _read(path: Path) -> Types:
    types: Types = json.loads(path.read_text())
    return types


def _definition(checkout: Path, resource: Resource) -> tuple[Types, dict[str, Any]] | None:
    provider, expected = resource.type.split("/")[0].lower(), f"{resource.type}@{resource.version}".lower()
    for path in sorted(checkout.glob(f"generated/*/{provider}/{resource.version}/types.json")):
        types = _read(path)
        for candidate in types:
            if candidate["$type"] == "ResourceType" and candidate["name"].lower() == expected:
                return types, _target(types, candidate["body"])
    return None


def _target(types: Types, reference: dict[str, str]) -> dict[str, Any]:
    return types[int(reference["$ref"].rsplit("/", 1)[-1])]


def _compare(types: Types, definition: dict[str, Any], value: Any, path: str) -> Iterator[str]:
    if isinstance(value, Expr) or value is None:
        return  # known at deployment, or left out
    match definition["$type"]:
        case "StringType" | "StringLiteralType" | "UnionType":
            yield from _compare_text(types, definition, value, path)
        case "IntegerType":
            if not isinstance(value, int) or isinstance(value, bool):
                yield f"{path} must be a whole number, is {value!r}"
        case "BooleanType":
            if not isinstance(value, bool):
                yield f"{path} must be true or false, is {value!r}"
        case "ArrayType":
            if not isinstance(value, list):
                yield f"{path} must be an array"
                return
            for index, item in enumerate(value):
                yield from _compare(types, _target(types, definition["itemType"]), item, f"{path}[{index}]")
        case "ObjectType" | "DiscriminatedObjectType":
            if not isinstance(value, dict):
                yield f"{path} must be an object, is {value!r}"
                return
            yield from _compare_object(types, definition, value, path)


def _compare_text(types: Types, definition: dict[str, Any], value: Any, path: str) -> Iterator[str]:
    """A string, or one of several. An open list (it has plain `string` too) is held to what it names as well."""
    if not isinstance(value, str):
        yield f"{path} must be text, is {value!r}"
        return
    if definition["$type"] == "StringType":
        return
    elements = [_target(types, e) for e in definition["elements"]] if "elements" in definition else [definition]
    allowed = [element["value"] for element in elements if element["$type"] == "StringLiteralType"]
    if allowed and value not in allowed:
        yield f"{path} is {value!r}, known are {', '.join(allowed)}"


def _compare_object(types: Types, definition: dict[str, Any], value: dict[str, Any], path: str) -> Iterator[str]:
    known = dict(definition.get("properties") or definition.get("baseProperties") or {})
    if definition["$type"] == "DiscriminatedObjectType":
        kind = value.get(definition["discriminator"])
        if kind not in definition["elements"]:
            yield f"{path}.{definition['discriminator']} is {kind!r}, known are {', '.join(definition['elements'])}"
            return
        known |= _target(types, definition["elements"][kind])["properties"]
    others = definition.get("additionalProperties")
    for name, item in value.items():
        if name in known:
            if known[name].get("flags", 0) & READ_ONLY:
                yield f"{path}.{name} is read-only"
            yield from _compare(types, _target(types, known[name]["type"]), item, f"{path}.{name}")
        elif others:
            yield from _compare(types, _target(types, others), item, f"{path}.{name}")
        else:
            yield f"{path}.{name} is unknown"
    for name, entry in known.items():
        if entry.get("flags", 0) & REQUIRED and name not in value and name not in NOT_IN_THE_BODY:
            yield f"{path}.{name} is missing"
