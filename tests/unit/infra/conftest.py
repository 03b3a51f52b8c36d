from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.ports import Services
from tests.fresh_process import fresh_process


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """For what the app logs."""
    with fresh_process(tmp_path, monkeypatch) as found:
        yield found
