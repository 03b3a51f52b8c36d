"""The Azure ML emulator in a thread of the test's process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import uvicorn

from local_stack.azure_ml.app import AzureMlEmulator, build_app, listen
from local_stack.azure_ml.config import EmulatorConfig
from local_stack.azure_ml.events import Emit


@contextmanager
def running(config: EmulatorConfig, emit: Emit) -> Iterator[AzureMlEmulator]:
    """The emulator on a free port, while the block runs."""
    listener = listen(0)
    config = replace(config, port=listener.getsockname()[1])
    ready = threading.Event()
    app = build_app(config, emit, ready.set)
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
