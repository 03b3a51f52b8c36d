"""What all benchmarks share: the row of the result, time, percentiles, memory and the machine's description."""

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

REPOSITORY = Path(__file__).resolve().parent.parent
MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure. `baseline` names what was measured beside it in the same run; empty where nothing exists."""

    name: str
    value: float
    unit: str
    better: str  # "higher" | "lower"
    baseline: str = ""
    baseline_value: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Our value divided by the baseline's; None without a baseline."""
        return self.value / self.baseline_value if self.baseline_value else None

    def document(self) -> dict[str, Any]:
        """As the JSON file has it, rounded to four significant digits."""
        return {
            "name": self.name,
            "value": _rounded(self.value),
            "unit": self.unit,
            "better": self.better,
            "baseline": self.baseline or None,
            "baseline_value": _rounded(self.baseline_value),
            "ratio": _rounded(self.ratio),
            "note": self.note or None,
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * int(percent) // 100) - 1)]


def percentiles(
    name: str,
    percents: Sequence[int],
    ours: Sequence[float],
    baseline: str,
    theirs: Sequence[float],
    note: str = "",
) -> list[Figure]:
    """A row for each percentile of two samples of milliseconds."""
    both = ((percent, percentile(ours, percent), percentile(theirs, percent)) for percent in percents)
    return [Figure(f"{name}, p{percent}", value, "ms", "lower", baseline, its, note) for percent, value, its in both]


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """What one call takes: of processor time, since the neighbors on this machine come and go, or by another clock."""
    started = clock()
    work()
    return clock() - started


def peak_memory_mb() -> float:
    """Most resident memory this process ever had.

    Linux lets a child inherit the parent's `ru_maxrss`, so there the kernel's own count is read.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / MB
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MB


def run_child(module: str, *arguments: str, limit_s: float | None = None) -> str:
    """The last line a module prints when run in a process of its own. Raises CalledProcessError or TimeoutExpired."""
    command = [sys.executable, "-m", module, *arguments]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    ended = subprocess.run(command, cwd=REPOSITORY, env=environment, text=True, capture_output=True, timeout=limit_s)
    if ended.returncode:
        print(ended.stdout + ended.stderr, file=sys.stderr)
    ended.check_returncode()
    return ended.stdout.splitlines()[-1]


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def load() -> float:
    """Processes that wanted to run during the last minute: other people's work shows here."""
    return round(os.getloadavg()[0], 2)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
