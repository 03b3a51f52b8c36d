"""Lists in OpenAI's form: newest first, `after` names the last item seen."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from functions.http.errors import ApiError


def page(items: Iterable[dict[str, Any]], limit: int, after: str | None) -> dict[str, Any]:
    """`items` have an `id`. Raises ApiError 400 if there is none called `after`."""
    found = list(itertools.islice(_behind(items, after) if after else items, limit + 1))
    data = found[:limit]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(found) > limit,
    }


def _behind(items: Iterable[dict[str, Any]], after: str) -> Iterator[dict[str, Any]]:
    rest = itertools.dropwhile(lambda item: item["id"] != after, items)
    if next(rest, None) is None:
        raise ApiError(400, "unknown_cursor", f"the list has no {after}", "after")
    return rest
