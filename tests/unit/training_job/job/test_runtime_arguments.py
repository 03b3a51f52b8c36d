"""A command line that is declared once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from training_job.job.runtime import parse_arguments


@dataclass(frozen=True, kw_only=True)
class Task:
    job_name: Annotated[str, "named in the result"]
    base_model: Annotated[Path, "a folder"]
    judges: Annotated[Path | None, "a file"] = None
    note: Annotated[str | None, "a text"] = None


def parse(*argv: str) -> Task:
    return parse_arguments(Task, "job", "What it does.\n\nMore.", [*argv])


def test_options_are_the_fields_with_their_types() -> None:
    task = parse("--job-name", "a", "--base-model", "b", "--judges", "c", "--note", "d")
    assert task == Task(job_name="a", base_model=Path("b"), judges=Path("c"), note="d")
    assert parse("--job-name", "a", "--base-model", "b") == Task(job_name="a", base_model=Path("b"))


def test_a_required_option_that_is_left_out_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse("--job-name", "a")
    assert ended.value.code == 2
    assert "the following arguments are required: --base-model" in capsys.readouterr().err


def test_help_has_the_program_its_purpose_and_each_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--help")
    shown = capsys.readouterr().out
    assert shown.startswith("usage: job ")
    assert "What it does." in shown
    assert "More." not in shown
    assert "a folder" in shown
