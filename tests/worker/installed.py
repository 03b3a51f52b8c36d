"""An environment of the function app's lock file, or a test that says why it is skipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.azure_worker.environments import NotBuilt, environment


def installed(python: Path) -> Path:
    try:
        return environment(python)
    except NotBuilt as error:
        pytest.skip(str(error))
