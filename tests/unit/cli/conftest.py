from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn

from cli.main import main
from tests.unit.cli.fake_api import FakeDroptune, make_app


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[FakeDroptune, str]]:
    """The fake behind a real server: sockets, headers and status codes are part of what is tested."""
    fake = FakeDroptune()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(make_app(fake), log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield fake, f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture
def fake(served: tuple[FakeDroptune, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeDroptune:
    """The fake without a run; the command line finds it by DROPTUNE_URL."""
    fake, url = served
    vars(fake).update(vars(FakeDroptune()))
    monkeypatch.setenv("DROPTUNE_URL", url)
    monkeypatch.chdir(tmp_path)
    return fake


@pytest.fixture
def droptune(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the command line in this process; returns its exit code."""

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["droptune", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    return run
