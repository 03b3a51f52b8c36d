"""`python -m tests.published_types FOLDER COMMIT` writes `infra/gate/published.json`: the definitions of what infra/
declares and of what the Azure ML client calls, from a checkout of github.com/Azure/bicep-types-az, as JSON Schema.

The format of its `types.json` (a list of types that refer to each other by position) is that repository's own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from infra.gate import bicep
from infra.gate.published import FILE, Schema
from tests.paths import ROOT

# By type, the versions that azure-ai-ml 1.35.2 asks for; the emulator refuses any other.
_AZURE_ML = {
    "workspaces": ("2024-10-01-preview",),
    "workspaces/environments/versions": ("2023-04-01-preview",),
    "workspaces/jobs": ("2024-01-01-preview", "2025-01-01-preview"),
    "workspaces/models/versions": ("2023-08-01-preview",),
    "workspaces/onlineEndpoints": ("2022-02-01-preview", "2023-04-01-preview"),
    "workspaces/onlineEndpoints/deployments": ("2022-02-01-preview", "2023-04-01-preview"),
}
AZURE_ML = [
    f"Microsoft.MachineLearningServices/{kind}@{one}" for kind, versions in _AZURE_ML.items() for one in versions
]
# Of types told apart by one of their fields, those that occur here: the others would be most of the file.
_ONLY = {"jobType": {"Command"}, "computeType": {"AmlCompute"}}
_REQUIRED, _MARKS = 1, {"readOnly": 2, "writeOnly": 4}
_PLAIN = {"StringType": "string", "IntegerType": "integer", "BooleanType": "boolean"}
_LIMITS = {"minValue": "minimum", "maxValue": "maximum"} | {
    name: name for name in ("minLength", "maxLength", "pattern")
}


def write(checkout: Path, commit: str, resource_types: Iterable[str], file: Path = FILE) -> None:
    """Write the definitions of TYPE@VERSIONs. Raises KeyError for one that is not published."""
    resources: dict[str, str] = {}
    definitions: Schema = {}
    published = {
        one["name"].lower(): (path, _position(one["body"]))
        for path in checkout.glob("generated/*/*/*/types.json")
        for one in json.loads(path.read_text())
        if one["$type"] == "ResourceType"
    }
    for resource in sorted(set(resource_types)):
        path, position = published[resource.lower()]
        resources[resource] = _Excerpt(path, definitions).name_of(position)
    lines = [f"{json.dumps(name)}:{json.dumps(one, sort_keys=True)}" for name, one in sorted(definitions.items())]
    source = "github.com/Azure/bicep-types-az, MIT License, Copyright (c) Microsoft Corporation"
    head = json.dumps({"source": source, "commit": commit, "resources": resources}, indent=0)
    file.write_text(f'{head[:-2]},\n"$defs": {{\n' + ",\n".join(lines) + "\n}}\n")


def _position(reference: dict[str, str]) -> int:
    return int(reference["$ref"].rsplit("/", 1)[-1])


class _Excerpt:
    """One `types.json`; adds to `definitions`."""

    def __init__(self, path: Path, definitions: Schema) -> None:
        self._types: list[Schema] = json.loads(path.read_text())
        self._definitions, self._prefix = definitions, "-".join(path.parts[-3:-1])

    def name_of(self, position: int) -> str:
        name = f"{self._prefix}-{position}"
        if name not in self._definitions:
            self._definitions[name] = {}  # types may be recursive
            self._definitions[name] = self._object(self._types[position], {})
        return name

    def _schema(self, reference: dict[str, str]) -> Schema:
        found = self._types[_position(reference)]
        match found["$type"]:
            case "ObjectType" | "DiscriminatedObjectType":
                return {"$ref": f"#/$defs/{self.name_of(_position(reference))}"}
            case "StringLiteralType":
                return {"enum": [found["value"]]}
            case "UnionType":  # an open list, with plain text in it, is held to what it names as well
                values = [self._types[_position(element)].get("value") for element in found["elements"]]
                return {"enum": named} if (named := [value for value in values if value]) else {"type": "string"}
            case "ArrayType":
                return {"type": "array", "items": self._schema(found["itemType"])}
            case "AnyType":
                return {}
        return {"type": _PLAIN[found["$type"]], **{_LIMITS[key]: found[key] for key in found.keys() & _LIMITS.keys()}}

    def _object(self, found: Schema, base: Schema) -> Schema:
        own = base | (found.get("properties") or found.get("baseProperties") or {})
        if (field := found.get("discriminator")) is not None:
            kinds = {
                kind: self._object(self._types[_position(element)], own)
                for kind, element in found["elements"].items()
                if kind in _ONLY.get(field, {kind})
            }
            return {"type": "object", "discriminator": {"propertyName": field, "mapping": kinds}}
        others = found.get("additionalProperties")
        return {
            "type": "object",
            "properties": {name: {**self._schema(one["type"]), **_marks(one)} for name, one in own.items()},
            "required": [name for name, one in own.items() if one["flags"] & _REQUIRED and not _marks(one)],
            "additionalProperties": self._schema(others) if others else False,
        }


def _marks(one: Schema) -> dict[str, Any]:
    return {name: True for name, bit in _MARKS.items() if one["flags"] & bit}


if __name__ == "__main__":
    declared = {f"{resource.type}@{resource.version}" for resource in bicep.read(ROOT / "infra").resources}
    write(Path(sys.argv[1]), sys.argv[2], {*declared, *AZURE_ML})
