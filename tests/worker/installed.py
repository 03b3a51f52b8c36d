"""An environment of the function app's lock file or of other packages, or a test that says why it is skipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.azure_worker.environments import NotBuilt, environment


def installed(python: Path, *packages: str) -> Path:
    try:
        return environment(python, *packages)
    except NotBuilt as error:
        pytest.skip(str(error))
