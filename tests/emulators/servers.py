"""Each server is started once per test process, on a free port, and dies with it."""

from __future__ import annotations

import atexit
import subprocess
import time
from collections.abc import Callable
from functools import cache

import httpx
import pytest

from local_stack import emulators
from local_stack.emulators import FOLDER, NotInstalled
from local_stack.processes import free_port

START_WITHIN_S = 30.0
DATABASE = "droptune"
BLOB_CONTAINER = "contract"


@cache
def cosmos_url() -> str:
    """A RUN_STORE_URL; the container is there. Skips the test if the server cannot be had."""
    port = _start(lambda port: emulators.cosmos_command(port, node_options=_DIES_WITH_US))
    url = f"cosmos+http://127.0.0.1:{port}/{DATABASE}"
    emulators.create_run_container(url)
    return url


@cache
def azurite_url() -> str:
    """A BLOB_STORE_URL with the container `contract`. Skips the test if the server cannot be had."""
    port = _start(lambda port: emulators.azurite_command(port, None, node_options=_DIES_WITH_US))
    url = f"blob+http://127.0.0.1:{port}/devstoreaccount1"
    emulators.create_blob_containers(url, [BLOB_CONTAINER])
    return url


_DIES_WITH_US = ("--require", str(FOLDER / "exit_with_parent.cjs"))


def _start(command: Callable[[int], list[str]]) -> int:
    if (reason := _why_not()) is not None:
        pytest.skip(reason)
    port = free_port(None)
    process = subprocess.Popen(command(port), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    atexit.register(_stop, process)
    until = time.monotonic() + START_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        try:
            httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            return port
    raise RuntimeError(f"{command(port)} does not answer")


@cache
def _why_not() -> str | None:
    """Installs what `make setup` could not, once; None if all is there."""
    try:
        emulators.install()
    except NotInstalled as error:
        return str(error)
    return None


def _stop(process: subprocess.Popen[bytes]) -> None:
    with process:  # closes its stdin and waits
        process.kill()
