"""What Azure does first: import the app in a process with nothing configured."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.paths import ROOT

PROGRAM = """
import sys
import function_app
names = sorted(function.get_function_name() for function in function_app.app.get_functions())
print(len(names), *names)
print(*sorted(set(sys.modules) & {"torch", "transformers", "azure.ai.ml", "azure.identity"}))
"""


def test_importing_the_app_with_an_empty_environment_registers_every_function_and_loads_no_sdk(
    tmp_path: Path,
) -> None:
    ended = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{PROGRAM}"],
        env={},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    functions, heavy = ended.stdout.split("\n")[:2]
    assert functions.startswith("20 ")
    assert "validate_dataset" in functions
    assert heavy == ""
    assert os.listdir(tmp_path) == []
