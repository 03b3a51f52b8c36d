"""Servers that benchmarks and tests start for themselves."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from benchmarks.measure import REPOSITORY
from local_stack import emulators
from local_stack.processes import free_port
from shared.tls import tls_context

_START_WITHIN_S = 120.0  # Azurite loads hundreds of packages; a busy machine takes its time


@contextmanager
def serving(name: str) -> Iterator[int]:
    """Installs what is missing and runs an emulator on a free port, which it yields; it dies with this process.

    Raises NotInstalled; RuntimeError if it does not answer in time.
    """
    emulators.install()
    port = free_port(None)
    program, *arguments = emulators.part_command(name, port)
    exit_with_parent = ("--require", str(emulators.FOLDER / "exit_with_parent.cjs"))
    # It ends when its stdin closes: with this process.
    with subprocess.Popen(
        [program, *exit_with_parent, *arguments], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as process:
        try:
            _wait_for(process, port)
            yield port
        finally:
            process.kill()


@contextmanager
def ready(command: list[str]) -> Iterator[int]:
    """The port of a server that prints `ready PORT`; it ends with the block."""
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as one:
        try:
            assert one.stdout is not None
            line = one.stdout.readline().split()
            if line[:1] != ["ready"]:
                raise RuntimeError(f"{command[2]} did not start")
            yield int(line[1])
        finally:
            one.terminate()


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + _START_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        try:
            httpx.get(f"http://127.0.0.1:{port}/", verify=tls_context(), trust_env=False)
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"the server on port {port} does not answer")
