"""The process group of a job of an emulator."""

from __future__ import annotations

from tests.unit.local_stack.azure_ml.support import Process, eventually


def group_of(process: Process, name: str, attempt: int = 1) -> int:
    path = process.root / "azure_ml" / "jobs" / name / "attempts" / str(attempt) / "pid"
    return int(eventually(lambda: path.read_text() if path.exists() else ""))
