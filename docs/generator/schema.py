"""A pydantic model as documented keys: name, type with its range, default, meaning."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

_PLAIN = {"integer": "integer", "number": "number", "boolean": "`true` or `false`", "string": "text", "null": "`null`"}
_BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a model. `type` and `default` are Markdown; `default` is empty where the key is required."""

    name: str
    type: str
    default: str
    meaning: str


def keys_of(model: type[BaseModel]) -> Iterator[Key]:
    """The keys of a model in the order of its fields.

    Raises ValueError for a key without a description.
    """
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    for name, found in schema["properties"].items():
        meaning = found.get("description") or _docstring_of(found, definitions)
        if not meaning and name != "type":
            raise ValueError(f"{model.__name__}.{name} has no description")
        yield Key(name, type_of(found, definitions), _default(found, definitions), meaning or "which kind it is")


def type_of(found: dict[str, Any], definitions: dict[str, Any]) -> str:
    """The type of a value in words, with its range."""
    if "$ref" in found:
        return _named(found["$ref"].rsplit("/", 1)[1], definitions)
    if options := found.get("anyOf") or found.get("oneOf"):
        return " or ".join(dict.fromkeys(type_of(option, definitions) for option in options))
    if "const" in found:
        return f"`{found['const']}`"
    if "enum" in found:
        return ", ".join(f"`{value}`" for value in found["enum"])
    kind = found.get("type")
    if kind == "array":
        return _list(found, definitions)
    if kind == "object":
        return "mapping"
    if kind is None:
        return "any"
    return _plain(found, kind)


def _plain(found: dict[str, Any], kind: str) -> str:
    bounds = _range(found)
    if "pattern" in found:
        bounds.append(f"`{found['pattern']}`")
    if "minLength" in found and "maxLength" in found:
        bounds.append(f"{found['minLength']} to {found['maxLength']:,} characters")
    elif "maxLength" in found:
        bounds.append(f"at most {found['maxLength']:,} characters")
    return " ".join([_PLAIN[kind], ", ".join(bounds)]).strip()


def range_of(found: dict[str, Any]) -> str:
    """The range of a number in words, empty without one."""
    return ", ".join(_range(found))


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:,}"


def _range(found: dict[str, Any]) -> list[str]:
    if "minimum" in found and found["minimum"] == found.get("maximum"):
        return [f"{found['minimum']:g}"]
    if "minimum" in found and "maximum" in found:
        return [f"{_number(found['minimum'])} to {_number(found['maximum'])}"]
    return [f"{word} {_number(found[bound])}" for bound, word in _BOUNDS.items() if bound in found]


def _list(found: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "prefixItems" in found:
        return f"list of {len(found['prefixItems'])}: " + ", ".join(
            type_of(item, definitions) for item in found["prefixItems"]
        )
    inner = type_of(found["items"], definitions)
    low, high = found.get("minItems", 0), found.get("maxItems")
    size = f"{low} to {high} " if high else f"at least {low} " if low else ""
    return f"list of {size}{inner}" if " " not in inner else f"list of {size}({inner})"


def _named(name: str, definitions: dict[str, Any]) -> str:
    found = definitions[name]
    if "enum" in found:
        return type_of(found, definitions)
    if "oneOf" in found or "anyOf" in found:
        return "mapping"
    return "mapping" if found.get("type") == "object" else type_of(found, definitions)


def _docstring_of(found: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Of a part of the recipe: what the class says of itself."""
    name = str(found.get("$ref", "")).rsplit("/", 1)[-1]
    return " ".join(str(definitions.get(name, {}).get("description", "")).split())


def _default(found: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "default" not in found or "mapping" in type_of(found, definitions):
        return ""
    value = found["default"]
    if isinstance(value, str):
        return f"`{value}`" if value else "empty"
    if value == []:
        return "none"
    return f"`{json.dumps(value)}`"
