"""The import job on a folder, what it leaves, and its refusal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from shared.domain.errors import FailureClass
from shared.domain.results import JobResult
from tests.unit.training_job.tiny_folder import TINY
from training_job.import_base import main
from training_job.job import runtime


def run(base: Path, base_model: str = TINY.id, own_base: str = "") -> tuple[int, JobResult]:
    place = base.parents[1]
    arguments = {"--job-name": "import-1", "--base-model": base_model, "--folder": base.parent}
    arguments |= {"--bundle": place / "bundle", "--output": place / "out"}
    arguments |= {"--own-base": own_base} if own_base else {}
    code = main([str(word) for pair in arguments.items() for word in pair])
    return code, JobResult.model_validate_json((place / "out" / "result.json").read_bytes())


def left(base: Path) -> dict[str, bytes]:
    folder = base.parents[1] / "bundle"
    return {file.name: file.read_bytes() for file in folder.iterdir()} if folder.exists() else {}


def refusal(base: Path, base_model: str = TINY.id) -> str:
    code, result = run(base, base_model)
    assert code == runtime.EXIT_CODES[FailureClass.RECIPE] == 11
    assert result.failure_class is FailureClass.RECIPE
    assert result.problem is not None
    assert (result.problem.code, result.problem.param) == ("base_model_unfit", base_model)
    assert left(base) == {}
    return result.problem.message


Change = Callable[[Path], object]


def file(name: str) -> Change:
    return lambda folder: (folder / name).write_bytes(b"x")
