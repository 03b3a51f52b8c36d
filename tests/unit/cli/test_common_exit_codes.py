"""Exit codes that scripts depend on."""

from __future__ import annotations

from cli.common import EXIT_BY_STATUS
from shared.domain.run import TERMINAL


def test_every_way_a_run_can_end_has_its_own_exit_code() -> None:
    assert set(EXIT_BY_STATUS) == TERMINAL
    assert len(set(EXIT_BY_STATUS.values())) == len(TERMINAL)
