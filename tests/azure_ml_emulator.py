"""The Azure ML emulator in a thread of the test's process; its answers are held to Microsoft's definitions."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import uvicorn
from starlette.responses import Response

from local_stack.azure_ml import published
from local_stack.azure_ml.app import AzureMlEmulator, build_app, listen
from local_stack.azure_ml.config import EmulatorConfig
from local_stack.azure_ml.events import Emit
from local_stack.azure_ml.store import Document


@contextmanager
def running(config: EmulatorConfig, emit: Emit) -> Iterator[AzureMlEmulator]:
    """The emulator on a free port, while the block runs."""
    listener = listen(0)
    config = replace(config, port=listener.getsockname()[1])
    ready = threading.Event()
    app = build_app(config, emit, ready.set)
    misfits = _check_answers(app.state.emulator)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    if not ready.wait(60):
        raise RuntimeError("the emulator did not start")
    try:
        yield app.state.emulator
    finally:
        server.should_exit = True
        thread.join(15)
        listener.close()
    assert misfits == []


def _check_answers(emulator: AzureMlEmulator) -> list[str]:
    """Filled while it runs: what is against its answers as resources of the version that was asked for."""
    found: list[str] = []
    arm = emulator.arm

    def checked(method: str, path: str, version: str | None, body: Document) -> Response:
        response = arm(method, path, version, body)
        answer = json.loads(bytes(response.body) or "{}")
        kind, _ = published.resource_of(f"{path}/any" if "value" in answer else path)
        if answer and published.is_known(f"{kind}@{version}"):
            for one in answer.get("value", [answer]):
                problems = published.problems(f"{kind}@{version}", one, answer=True)
                found.extend(f"{method} {path}: {problem}" for problem in problems)
        return response

    emulator.arm = checked  # type: ignore[method-assign]
    return found
