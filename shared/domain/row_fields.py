"""Fields of a row by the names that recipes give them: `fault_class`, or `meta.machine` of one in an object."""

from typing import Any


def value_at(item: dict[str, Any], path: str, default: Any = None) -> Any:
    """The value at a path, `default` if there is none. A field whose own name has the dots comes first."""
    if path in item:
        return item[path]
    value: Any = item
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            return default
        value = value[name]
    return value


def is_missing(item: dict[str, Any], path: str) -> bool:
    """Whether there is no value at a path, or one that says nothing: null or a blank text. An empty list is a value."""
    value = value_at(item, path)
    return value is None or (isinstance(value, str) and not value.strip())
