"""How a job ends."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from shared.domain.errors import FailureClass
from training_job.job import exit_codes
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


@pytest.mark.parametrize(
    ("error", "failure_class", "code"),
    [
        (MemoryError(), FailureClass.CAPACITY, "out_of_memory"),
        (OSError(28, "No space left on device"), FailureClass.CAPACITY, "disk_full"),
        (PermissionError(13, "denied"), FailureClass.PLATFORM, "input_output"),
        (ZeroDivisionError("x"), FailureClass.CODE, "unexpected"),
    ],
)
def test_whatever_is_raised_becomes_a_class(
    error: Exception, failure_class: FailureClass, code: str, tmp_path: Path
) -> None:
    from training_job.job.runtime import run_job

    def work(_metrics: Any) -> None:
        raise error

    assert run_job("job", tmp_path, work) == exit_codes.BY_CLASS[failure_class]
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["failure_class"], result["problem"]["code"]) == (failure_class, code)


def test_a_gpu_out_of_memory_is_a_matter_of_capacity() -> None:
    import torch

    from training_job.job.runtime import classify

    assert classify(torch.cuda.OutOfMemoryError("CUDA out of memory")).failure_class is FailureClass.CAPACITY


def test_an_old_result_does_not_outlive_the_start_of_the_next_attempt(tmp_path: Path) -> None:
    from training_job.job.runtime import run_job

    (tmp_path / "result.json").write_text("{}")
    seen = []
    run_job("job", tmp_path, lambda _metrics: seen.append((tmp_path / "result.json").exists()))
    assert seen == [False]
