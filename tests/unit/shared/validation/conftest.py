from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from shared.validation.deidentify import NameFinder
from shared.validation.sink import spooled_sink
from shared.validation.validator import Validated, validate


@dataclass(frozen=True)
class Checked:
    """A validation's result with what it wrote."""

    result: Validated
    train: bytes
    eval: bytes

    @property
    def codes(self) -> dict[str, tuple[int, ...]]:
        """Code -> rows, in the report's order."""
        return {problem.code: problem.rows for problem in self.result.report.problems}

    @property
    def errors(self) -> list[str]:
        return [problem.code for problem in self.result.report.problems if problem.severity == "error"]


Check = Callable[..., Checked]


@pytest.fixture(scope="session")
def check() -> Check:
    def run(
        train: bytes | Iterable[bytes],
        evaluation: bytes | None = None,
        recipe: bytes | None = None,
        *,
        project: str = "part-codes",
        file_name: str = "train.jsonl",
        names: Callable[[], NameFinder | None] | None = lambda: None,
    ) -> Checked:
        with spooled_sink() as sink:
            result = validate(
                [train] if isinstance(train, bytes) else train,
                None if evaluation is None else [evaluation],
                recipe,
                project=project,
                file_name=file_name,
                default_base_model="droptune/tiny-llama",
                sink=sink,
                names=names,
            )
            return Checked(result, sink.train.read(), sink.eval.read())

    return run


def row(number: int = 0, **extra: Any) -> dict[str, Any]:
    messages = [
        {"role": "user", "content": f"What part is number {number}?"},
        {"role": "assistant", "content": f"part {number}"},
    ]
    return {"messages": messages, **extra}


@pytest.fixture
def rows() -> Callable[..., bytes]:
    """JSON Lines of `count` good rows, with extra lines appended."""

    def make(count: int = 60, *lines: bytes | dict[str, Any], start: int = 0, **extra: Any) -> bytes:
        good = [json.dumps(row(start + number, **extra)).encode() for number in range(count)]
        more = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        return b"\n".join([*good, *more]) + b"\n"

    return make
