from __future__ import annotations

from typing import get_args

from shared.domain.graders import PythonGrader, ScoreModel, SimpleGrader
from shared.grading.compiled import _BUILDERS


def test_every_simple_grader_has_a_builder_or_is_compiled_by_itself() -> None:
    types = set(get_args(get_args(SimpleGrader)[0]))
    assert len(types) >= 12
    assert types == {*_BUILDERS, PythonGrader, ScoreModel}
