"""How a job ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.domain.errors import FailureClass
from training_job.job import exit_codes
from training_job.job.runtime import classify, require, run_job


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
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), FailureClass.CAPACITY, "out_of_memory"),
        (ZeroDivisionError("x"), FailureClass.CODE, "unexpected"),
    ],
)
def test_whatever_is_raised_becomes_a_class(
    error: Exception, failure_class: FailureClass, code: str, tmp_path: Path
) -> None:
    def work(_metrics: Any) -> None:
        raise error

    assert run_job("job", tmp_path, work) == exit_codes.BY_CLASS[failure_class]
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["failure_class"], result["problem"]["code"]) == (failure_class, code)


def test_a_gpu_out_of_memory_is_a_matter_of_capacity() -> None:
    import torch

    assert classify(torch.cuda.OutOfMemoryError("CUDA out of memory")).failure_class is FailureClass.CAPACITY


def test_an_accelerator_or_network_that_fails_is_the_platforms_and_an_index_beyond_a_table_is_not() -> None:
    import torch

    for error, expected in (
        (torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"), FailureClass.PLATFORM),
        (torch.distributed.DistBackendError("NCCL error: remote process exited"), FailureClass.PLATFORM),
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), FailureClass.CODE),
    ):
        assert classify(error).failure_class is expected


def test_an_old_result_does_not_outlive_the_start_of_the_next_attempt(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("{}")
    seen = []
    run_job("job", tmp_path, lambda _metrics: seen.append((tmp_path / "result.json").exists()))
    assert seen == [False]


def test_of_several_processes_the_first_to_fail_writes_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")

    def fails(rank: int, work: Callable[[Any], None]) -> str:
        monkeypatch.setenv("RANK", str(rank))
        assert run_job("job", tmp_path, work) != 0
        return str(json.loads((tmp_path / "result.json").read_text())["problem"]["message"])

    found: list[str] = []

    def of_the_first(_metrics: Any) -> None:
        found.append(fails(1, lambda _: require(tmp_path / "nowhere")))
        monkeypatch.setenv("RANK", "0")
        raise ConnectionResetError("the other process is gone")

    assert fails(0, of_the_first) == "not found: nowhere"
    assert found == ["not found: nowhere"]
