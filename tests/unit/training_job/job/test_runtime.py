"""How a job ends."""

from __future__ import annotations

import sys

from shared.domain.errors import FailureClass
from training_job.job.runtime import classify


def test_an_unforeseen_failure_says_where_but_quotes_no_data() -> None:
    try:
        raise ValueError("patient Jane Doe")
    except ValueError as error:
        failure = classify(error)
    assert failure.failure_class is FailureClass.CODE
    assert failure.problem.message.startswith("ValueError at test_runtime.py:")
    assert "Jane" not in failure.problem.message


def test_a_job_imports_no_compiler(libraries: None) -> None:
    assert "peft" in sys.modules
    assert "torch._inductor.compile_fx" not in sys.modules
