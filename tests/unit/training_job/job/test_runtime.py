"""How a job ends."""

from __future__ import annotations

import errno
import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.domain.errors import FailureClass
from training_job.job import runtime
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

    assert run_job("job", tmp_path, work) == runtime.EXIT_CODES[failure_class]
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["failure_class"], result["problem"]["code"]) == (failure_class, code)


@pytest.mark.parametrize("library", ["safetensors", "tokenizers", "torch"])
def test_what_a_library_cannot_write_is_no_fault_of_the_run(library: str, tmp_path: Path, random_base: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer

    tokenizer, tensors = Tokenizer.from_file(str(random_base / "tokenizer.json")), {"x": torch.zeros(10_000)}
    save = {
        "safetensors": lambda: save_file(tensors, tmp_path / "file"),
        "tokenizers": lambda: tokenizer.save(str(tmp_path / "file")),
        "torch": lambda: torch.save(tensors, tmp_path / "file"),
    }[library]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))  # as a disk with so much room, by another number
    try:
        with pytest.raises(Exception) as caught:
            save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not isinstance(caught.value, OSError)
    assert classify(caught.value).failure_class is FailureClass.PLATFORM


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_known_by_its_number(number: int) -> None:
    error = RuntimeError(f"Error while serializing: I/O error: No room (os error {number})")
    assert str(classify(error)).startswith("disk_full")


@pytest.mark.parametrize("kind", [ValueError, KeyError, TypeError])
@pytest.mark.parametrize("row", ["No space left (os error 28)", "open file failed", "iostream error"])
def test_a_row_that_an_error_quotes_says_nothing_of_the_disk(kind: type[Exception], row: str) -> None:
    assert classify(kind(f"no label {row!r}")).failure_class is FailureClass.CODE


def test_a_result_that_cannot_be_written_leaves_the_exit_code(tmp_path: Path) -> None:
    output = tmp_path / "output"

    def work(_metrics: Any) -> None:
        output.rmdir()
        output.symlink_to("/dev/full")

    assert run_job("job", output, work) == runtime.EXIT_CODES[FailureClass.PLATFORM]


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
