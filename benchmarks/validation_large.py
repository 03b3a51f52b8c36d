"""The validator on files that take a minute or more: memory at 2 GB, and a million rows."""

import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.measure import MB, Figure, run_child, seconds
from benchmarks.validation import validate_file, write_chat

ROWS, MEMORY_MB = 1_000_000, 2000


def run(rows: int = ROWS, memory_mb: float = MEMORY_MB) -> list[Figure]:
    """Seconds for a number of rows, and the memory of a process of its own. Needs a few GB of disk."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "chat.jsonl"
        write_chat(file, rows=rows)
        taken_s = seconds(partial(validate_file, file), time.perf_counter)
        write_chat(file, size_bytes=int(memory_mb * MB))
        peak = float(run_child("benchmarks.validation", "droptune", str(file)))
    return [
        Figure(f"validate, {rows:,} rows", taken_s, "s", "lower"),
        Figure(f"validate, {memory_mb:g} MB, peak memory", peak, "MB", "lower"),
    ]
