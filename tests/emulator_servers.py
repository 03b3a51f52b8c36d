"""Each server is started once per test process, on a free port, and dies with it."""

from __future__ import annotations

import atexit
from contextlib import ExitStack
from functools import cache

import pytest

from benchmarks.servers import serving
from local_stack import emulators

BLOB_CONTAINER = "contract"

_SERVERS = ExitStack()
atexit.register(_SERVERS.close)


@cache
def cosmos_url() -> str:
    """A RUN_STORE_URL; the container is there. Skips the test if the server cannot be had."""
    url = emulators.URLS["cosmos"].format(_start("cosmos"))
    emulators.create_run_container(url)
    return url


@cache
def azurite_url() -> str:
    """A BLOB_STORE_URL with the container `contract`. Skips the test if the server cannot be had."""
    url = emulators.URLS["azurite"].format(_start("azurite"))
    emulators.create_blob_containers(url, [BLOB_CONTAINER])
    return url


def _start(name: str) -> int:
    if (reason := _why_not()) is not None:
        pytest.skip(reason)
    return _SERVERS.enter_context(serving(name))


@cache
def _why_not() -> str | None:
    """Installs what `make setup` could not, once; None if all is there."""
    try:
        emulators.install()
    except emulators.NotInstalled as error:
        return str(error)
    return None
