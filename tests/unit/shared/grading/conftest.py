from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import TypeAdapter

from shared.domain.graders import Grader
from shared.grading.engine import Engine, Grade

READ = TypeAdapter(Grader).validate_python


@pytest.fixture
def read() -> Callable[..., Grader]:
    """A grader from its spec, named g."""
    return lambda spec: READ({"name": "g", **spec})


@pytest.fixture
def grade(read: Any) -> Callable[..., Grade]:
    def run(spec: dict[str, Any], text: str, **item: Any) -> Grade:
        with Engine([read(spec)]) as engine:
            return engine.grade([text], [item])[0]

    return run


@pytest.fixture
def score(grade: Any) -> Callable[..., float | None]:
    """The score of an answer that every grader could grade."""

    def run(spec: dict[str, Any], text: str, **item: Any) -> float | None:
        graded: Grade = grade(spec, text, **item)
        assert graded.errors == ()
        return graded.score

    return run
