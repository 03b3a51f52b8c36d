"""Which client each URL gets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.paths import ROOT


def test_a_process_with_embedded_stores_imports_no_azure_sdk(tmp_path: Path) -> None:
    code = """
import sys
import shared.services, shared.validation
shared.services.build_run_store("sqlite:///" + sys.argv[1]).close()
print([name for name in sys.modules if name.startswith("azure")])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "state.db")], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
