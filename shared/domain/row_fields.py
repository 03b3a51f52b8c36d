"""Fields of a row by the names that recipes give them: `fault_class`, or `meta.machine` of one in an object."""

from collections.abc import Iterable, Iterator
from typing import Any

import orjson


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


def group_of(item: dict[str, Any], path: str) -> bytes | None:
    """The value that rows are grouped by, or None. P5 is p5, and 5 is 5.0, as pandas writes with an empty cell."""
    if is_missing(item, path):
        return None
    value = value_at(item, path)
    text = " ".join(value.split()).casefold() if type(value) is str else orjson.dumps(value).decode()
    return (text.removesuffix(".0") if text[:1].isdigit() else text).encode()


def as_equal_groups(sizes: Iterable[int]) -> int:
    """How many groups of one size say as much of a mean as groups of these sizes (Kish 1965)."""
    sizes = list(sizes)
    return sum(sizes) ** 2 // max(1, sum(size**2 for size in sizes))


def joined(pairs: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Each member of a pair, and the smallest of all it is joined with, by way of others too; 100 bytes of memory."""
    before: dict[int, int] = {}  # a smaller one that it is joined with

    def root(member: int) -> int:
        while (other := before.get(member)) is not None:
            before[member] = before.get(other, other)  # half as far the next time
            member = other
        return member

    for pair in pairs:
        low, high = sorted(map(root, pair))
        if low != high:
            before[high] = low
    yield from ((member, root(member)) for member in {*before, *before.values()})
