"""The processes of jobs and servers."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from local_stack.azure_ml.processes import LAUNCH_WITHIN_S, starting


@pytest.mark.parametrize("ago_s", [-200 * 24 * 3600, -LAUNCH_WITHIN_S - 60, LAUNCH_WITHIN_S + 60])
def test_a_leader_that_does_not_come_is_not_waited_for_although_the_clock_was_set_back(
    tmp_path: Path, ago_s: float
) -> None:
    assert starting(tmp_path, time.time())
    assert not starting(tmp_path, time.time() - ago_s)
