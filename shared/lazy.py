"""Built on first use, by one thread."""

import threading
from collections.abc import Callable
from functools import cache
from typing import Any, Generic, TypeVar, cast

Result = TypeVar("Result")


class lazy(Generic[Result]):  # a decorator, as functools.cache is
    """`functools.cache` for a function without arguments whose first callers may come together, as a host's do.

    Without the lock each of them builds one, and imports half-imported modules while at it.
    """

    def __init__(self, build: Callable[[], Result]) -> None:
        self.__doc__ = build.__doc__
        self._lock = threading.RLock()
        self._cached = cache(build)

    def __call__(self) -> Result:
        with self._lock:
            return self._cached()

    @property
    def built(self) -> bool:
        return self._cached.cache_info().currsize > 0

    def cache_clear(self) -> None:
        """The next call builds anew."""
        self._cached.cache_clear()


class _OnFirstUse:
    def __init__(self, build: Callable[[], object]) -> None:
        self._built = lazy(build)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._built(), name)


def on_first_use(build: Callable[[], Result]) -> Result:
    """Stands for what `build` gives, and builds it when one of its methods or fields is first used."""
    return cast(Result, _OnFirstUse(build))


def build_now(stand_in: object) -> None:
    """Build what `stand_in` stands for, if it is of `on_first_use`. Raises what the building raises."""
    if isinstance(stand_in, _OnFirstUse):
        stand_in._built()
