"""Python graders and what confines them."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from shared.grading.engine import Engine, Grade, fields, problems
from shared.grading.errors import GradingErrorCode, GradingFailed
from shared.grading.sandbox import ANSWERS_PER_PROCESS, Sandbox
from tests.unit.shared.grading.support import python


def test_a_python_grader_reads_the_answer_and_the_row(score: Any) -> None:
    source = "def grade(sample, item):\n    return item['points'][sample['output_json']['level']]"
    assert score(python(source), '{"level": "high"}', points={"high": 0.75}) == 0.75


def test_an_answer_that_is_not_json_is_none_to_a_python_grader(score: Any) -> None:
    source = "def grade(sample, item):\n    return sample['output_json'] is None and 1.0"
    assert score(python(source), "text") == 1


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ("return {}[item['secret']]", GradingErrorCode.PYTHON_RUNTIME, "KeyError on line 2"),
        ("return 'x'", GradingErrorCode.PYTHON_RUNTIME, "grade returned no number"),
        ("return 1.5", GradingErrorCode.PYTHON_RUNTIME, "grade returned a number beyond 0 to 1"),
        ("return float('nan')", GradingErrorCode.PYTHON_RUNTIME, "grade returned a number beyond 0 to 1"),
        ("raise SystemExit", GradingErrorCode.PYTHON_RUNTIME, "SystemExit on line 2"),
        ("return grade(sample, item)", GradingErrorCode.PYTHON_RUNTIME, "RecursionError on line 2"),
        ("x = [0] * 10**9; return 1", GradingErrorCode.PYTHON_RUNTIME, "MemoryError on line 2"),
        (
            "import os; os._exit(0)",
            GradingErrorCode.PYTHON_SERVER,
            "the grader's process ended (memory, CPU time or a crash)",
        ),
        ("import os; os.write(3, b'{\\n')", GradingErrorCode.PYTHON_SERVER, "the grader wrote into its own reply"),
        ("import os; os.write(3, b'[1]\\n')", GradingErrorCode.PYTHON_SERVER, "the grader wrote into its own reply"),
        (
            """import os; os.write(3, b'{"score": "1"}\\n')""",
            GradingErrorCode.PYTHON_SERVER,
            "the grader wrote into its own reply",
        ),
    ],
)
def test_a_grader_that_fails_says_how_and_nothing_of_the_row(
    body: str, code: GradingErrorCode, message: str, grade: Any
) -> None:
    graded: Grade = grade(python(f"def grade(sample, item):\n    {body}"), "x", secret="Jane Doe")
    assert graded.score is None
    assert [(error.code, error.message) for error in graded.errors] == [(code, message)]


@pytest.mark.few_cases(1)
@pytest.mark.parametrize(
    "source", ["while True: pass\ndef grade(sample, item): pass", "def grade(sample, item):\n  while True: pass"]
)
def test_a_grader_that_does_not_end_is_ended_and_the_next_answer_graded(source: str) -> None:
    started = time.monotonic()
    with closing(Sandbox(source, limit_s=0.25)) as sandbox:
        for answer in ("x" * 200_000, "y"):
            with pytest.raises(GradingFailed, match=r"no score within 0\.25 s") as failed:
                sandbox.grade({"output_text": answer}, {})
            assert failed.value.code is GradingErrorCode.UNRESPONSIVE
    assert time.monotonic() - started < 120


def test_one_bad_answer_leaves_the_others_graded(read: Any) -> None:
    source = (
        "def grade(sample, item):\n    if sample['output_text'] == 'bad':\n        import os; os._exit(1)\n    return 1"
    )
    with Engine([read(python(source))]) as engine:
        grades = engine.grade(["good", "bad", "good"], [{}] * 3)
    assert [graded.score for graded in grades] == [1, None, 1]


def test_a_process_is_replaced_before_its_cpu_limit(read: Any) -> None:
    source = "seen = []\ndef grade(sample, item):\n    seen.append(1)\n    return len(seen) / 1000"
    answers = ANSWERS_PER_PROCESS + 2
    with Engine([read(python(source))]) as engine:
        scores = [graded.score for graded in engine.grade(["x"] * answers, [{}] * answers)]
    assert scores == [number / 1000 for number in (*range(1, ANSWERS_PER_PROCESS + 1), 1, 2)]


def test_no_process_outlives_the_engine(read: Any) -> None:
    with Engine([read(python("import os\ndef grade(sample, item):\n    return os.getpid() / 1e7"))]) as engine:
        [graded] = engine.grade(["x"], [{}])
    assert graded.score is not None
    assert not Path(f"/proc/{round(graded.score * 1e7)}").exists()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def grade(sample, item)\n    return 1", "not Python on line 1"),
        ("def score(sample, item):\n    return 1", "it must define"),
        ("def grade(sample):\n    return 1", "it must define"),
    ],
)
def test_source_that_cannot_work_is_a_problem_of_the_recipe(source: str, reason: str, read: Any) -> None:
    [(setting, message)] = problems([read(python(source))], "graders")
    assert setting == "graders[0].source"
    assert reason in message


def test_fields_a_grader_reads_by_name_are_known_beforehand(read: Any) -> None:
    source = "def grade(sample, item):\n    return len(item['part']) + len(item['size']['mm']) + sample['x']"
    assert fields([read(python(source))]) == {"part", "size"}
