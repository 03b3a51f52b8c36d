from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.receiver import Receiver
from tests.stack.local import LocalStack


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """A webhook receiver, for the tests of one file."""
    server = Receiver()
    yield server
    server.close()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack with the settings of a laptop, for the tests of one file; those that need others have their own."""
    running = LocalStack(tmp_path_factory.mktemp("local") / "stack")
    yield running
    running.down()
