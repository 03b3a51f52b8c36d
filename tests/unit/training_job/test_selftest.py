"""The libraries of a job compute what they should."""

from __future__ import annotations

import pytest

from shared.domain.errors import FailureClass
from training_job.job import runtime


def test_the_self_test_refuses_a_library_that_computes_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    import bitsandbytes.functional as bnb

    from training_job import selftest

    assert selftest.main([]) == runtime.COMPLETED
    right = bnb.dequantize_4bit
    monkeypatch.setattr(bnb, "dequantize_4bit", lambda *given: right(*given) * 2)
    assert selftest.main([]) == runtime.EXIT_CODES[FailureClass.PLATFORM]
