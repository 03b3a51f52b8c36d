"""Lists in OpenAI's form: newest first, `after` names the last item seen."""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from functions.http.errors import ApiError
from shared.domain.errors import PermanentFailure


class HasId(Protocol):
    @property
    def id(self) -> str: ...


Listed = TypeVar("Listed", bound=HasId)


@dataclass(frozen=True, slots=True)
class Page(Generic[Listed]):
    """Some items of a list, and whether there are more behind them."""

    items: tuple[Listed, ...]
    has_more: bool

    def fields(self) -> dict[str, Any]:
        """The fields of OpenAI's list object, without `data`."""
        ids = [item.id for item in self.items]
        return {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None, "has_more": self.has_more}


@contextmanager
def answered_as_unknown(after: str) -> Iterator[None]:
    """ApiError 400 for what the caller does not find: that it is there is nobody else's to know."""
    try:
        yield
    except (ApiError, PermanentFailure) as error:
        raise _unknown(after) from error


def _unknown(after: str) -> ApiError:
    return ApiError(400, "unknown_cursor", f"the list has no {after}", "after")


def page(items: Iterable[Listed], limit: int, after: str | None = None) -> Page[Listed]:
    """The first `limit` items behind `after`. Raises ApiError 400 if no item has that id."""
    found = tuple(itertools.islice(_behind(items, after) if after else items, limit + 1))
    return Page(found[:limit], len(found) > limit)


def _behind(items: Iterable[Listed], after: str) -> Iterator[Listed]:
    rest = itertools.dropwhile(lambda item: item.id != after, items)
    if next(rest, None) is None:
        raise _unknown(after)
    return rest
