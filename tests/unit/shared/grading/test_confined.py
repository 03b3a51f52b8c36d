"""What a confined process can reach."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from shared.grading import Grade, GradingErrorCode, GradingFailed, confined
from shared.grading.confined import MODULES
from shared.grading.sandbox import Sandbox
from tests.paths import ROOT
from tests.unit.shared.grading.support import python


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(
    "body",
    [
        "open('/etc/hostname')",
        "open('/proc/self/environ')",
        "import io; io.open_code('/etc/hostname')",
        "import os; os.listdir('/')",
        "import os; os.stat('/etc')",
        "import os; os.fork()",
        "import os; os.execv('/bin/true', ['true'])",
        "import os; os.kill(os.getpid(), 0)",
        "import os; os.pipe()",
    ],
)
def test_the_kernel_refuses_what_a_grader_has_no_need_of(body: str, grade: Any) -> None:
    graded: Grade = grade(python(f"def grade(sample, item):\n    {body}\n    return 1"), "x")
    assert [error.message for error in graded.errors] == ["PermissionError on line 2"]


def test_a_grader_reaches_no_network_even_by_system_call(grade: Any) -> None:
    """The socket module cannot be loaded any more, so the call itself is made."""
    body = """
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    return 0.5 if libc.socket(2, 1, 0) == -1 and ctypes.get_errno() == 1 else 1
"""
    assert grade(python(f"def grade(sample, item):{body}"), "x").score == 0.5
    with socket.socket():  # which this process may
        pass


@pytest.mark.few_cases(3)
@pytest.mark.parametrize("module", MODULES)
def test_every_documented_module_can_be_imported(module: str, score: Any) -> None:
    assert module in (ROOT / "docs" / "reference" / "graders.md").read_text(encoding="utf-8")
    use = {
        "datetime": "datetime.datetime.now()",
        "decimal": "decimal.Decimal('0.1') + 1",
        "difflib": "difflib.SequenceMatcher(None, 'ab', 'ac').ratio()",
        "random": "random.Random(1).random()",
        "re": "re.compile('(a+)b').search('aab')",
        "statistics": "statistics.median([1, 2])",
        "textwrap": "textwrap.fill('a b', 1)",
        "unicodedata": "unicodedata.normalize('NFKD', 'x')",
    }.get(module, module)
    assert score(python(f"def grade(sample, item):\n    import {module}\n    {use}\n    return 1"), "x") == 1


def test_a_grader_finds_no_environment(grade: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROPTUNE_TEST_SECRET", "x")
    source = "import os\ndef grade(sample, item):\n    return float(not any('SECRET' in name for name in os.environ))"
    assert grade(python(source), "x").score == 1


def test_where_nothing_can_be_confined_nothing_is_run(tmp_path: Path) -> None:
    """A machine of another kind: the worker knows no call numbers for it, and ends before it reads any source."""
    other = tmp_path / "confined.py"
    source = Path(confined.__file__).read_text(encoding="utf-8").replace("platform.machine()", "'riscv64'")
    other.write_text(source, encoding="utf-8")
    with (
        closing(Sandbox("def grade(sample, item):\n    return 1", worker=other)) as sandbox,
        pytest.raises(GradingFailed, match="this machine cannot confine a python grader") as failed,
    ):
        sandbox.grade({"output_text": "x"}, {})
    assert failed.value.code is GradingErrorCode.PYTHON_SERVER
