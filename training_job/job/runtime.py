"""What every job shares: a command line, and its end with `result.json` and an exit code that tells its failure class.

A command line is declared once: the fields of a dataclass are its options.

job_name: Annotated[str, "help of --job-name"]
champion: Annotated[Path | None, "help of --champion"] = None
"""

import argparse
import errno
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TypeVar, get_args, get_type_hints

from pydantic import ConfigDict, PrivateAttr, ValidationError

from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.recipe import ResolvedRecipe
from shared.domain.results import CURVE_FILE, SPENT_FILE, JobMetrics, JobResult, seconds_spent
from shared.domain.upgrades import read_file
from training_job import patches
from training_job.job.checkpoints import MARK
from training_job.job.files import write_json
from training_job.job.processes import is_distributed, is_main_process

RESULT_FILE = "result.json"
# Exit codes of every job, one per failure class, so that a log without a result still says what happened. Also 2: bad
# command line; 130 and 143: interrupted by SIGINT and SIGTERM.
COMPLETED = 0
_EXITS = {"data": 10, "recipe": 11, "code": 12, "platform": 13, "capacity": 14, "license": 15}
EXIT_CODES = {FailureClass(name): code for name, code in _EXITS.items()}
CALIBRATION_FILE = "calibration.json"
# How libraries name a failed call to the system: safetensors and tokenizers its number, torch that it wrote too little.
_NUMBER = re.compile(r"\(os error (\d+)\)")
_NOT_WRITTEN = re.compile(r"PytorchStreamWriter|iostream error|unexpected pos \d|open file failed")


class RunningMetrics(JobMetrics):
    """The metrics while the job runs; they become part of its result, whichever way the job ends."""

    model_config = ConfigDict(frozen=False)
    _started: float = PrivateAttr(default_factory=time.monotonic)
    _earlier_s: float = PrivateAttr(0.0)
    _kept: Path | None = PrivateAttr(None)

    def continue_time(self, output: Path) -> None:
        """Count on from what earlier attempts of the run have kept."""
        self._kept = output / SPENT_FILE
        found = [path.read_bytes() for path in (self._kept, output / CURVE_FILE) if path.is_file()]
        for mark in output.glob(f"checkpoints/*/{MARK}"):
            with suppress(OSError):  # that of an older checkpoint is not needed
                found.append(mark.read_bytes())
        self._earlier_s = seconds_spent(*found)

    def count_time(self) -> float:
        """Seconds of this job and of earlier attempts."""
        self.seconds = round(self._earlier_s + time.monotonic() - self._started, 3)
        return self.seconds

    def keep_time(self) -> None:
        """The next attempt counts on from here."""
        if self._kept and is_main_process():
            write_json(self._kept, {"seconds": self.count_time()})


class Interrupted(BaseException):
    """The process was told to stop."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


def run_job(name: str, output: Path, work: Callable[[RunningMetrics], None]) -> int:
    """Do the work, write `output/result.json`, return the exit code. Of several processes the first to fail writes."""
    output.mkdir(parents=True, exist_ok=True)
    if is_main_process():  # an earlier attempt's verdict must not outlive a kill of this one
        (output / RESULT_FILE).unlink(missing_ok=True)
    metrics = RunningMetrics()
    failure: PermanentFailure | None = None
    code = COMPLETED
    try:
        with _signals_raise():
            work(metrics)
    except Interrupted as stop:
        failure = PermanentFailure(FailureClass.PLATFORM, "interrupted", f"stopped by {stop}")
        code = 128 + stop.signal_number  # as a shell reports it
    except Exception as error:
        failure = classify(error)
        code = EXIT_CODES[failure.failure_class]
    metrics.count_time()
    result = JobResult(
        job=name,
        status="failed" if failure else "completed",
        failure_class=failure.failure_class if failure else None,
        problem=failure.problem if failure else None,
        metrics=JobMetrics(**dict(metrics)),
        finished_at=datetime.now(UTC),
    )
    is_written = is_distributed() and (output / RESULT_FILE).exists()
    try:
        if (is_main_process() or failure) and not is_written:
            write_json(output / RESULT_FILE, result.model_dump(mode="json"))
    except OSError as error:  # the exit code is all that is left to say how the job ended
        failure = failure or classify(error)
        code = code or EXIT_CODES[failure.failure_class]
    if failure:
        print(f"{name} failed ({failure.failure_class}): {failure}", file=sys.stderr, flush=True)
    return code


def classify(error: Exception) -> PermanentFailure:
    """Give any exception its failure class; one that is not expected is `code`."""
    if isinstance(error, PermanentFailure):
        return error
    traceback.print_tb(error.__traceback__)  # without the message: a library may quote the data it was given
    kind, text = type(error).__name__, str(error)[:500]
    if kind == "OutOfMemoryError" or isinstance(error, MemoryError) or "DefaultCPUAllocator" in text:
        return PermanentFailure(FailureClass.CAPACITY, "out_of_memory", text or kind)
    # Errors of values quote rows, which may say anything.
    known = None if isinstance(error, ValueError | LookupError | TypeError) else _NUMBER.search(text)
    number = error.errno if isinstance(error, OSError) else int(known[1]) if known else None
    if number in (errno.ENOSPC, errno.EDQUOT):
        return PermanentFailure(FailureClass.CAPACITY, "disk_full", text)
    if kind in ("AcceleratorError", "DistBackendError", "DistNetworkError") and "device-side assert" not in text:
        return PermanentFailure(FailureClass.PLATFORM, "accelerator", text)
    if isinstance(error, OSError) or known or (isinstance(error, RuntimeError) and _NOT_WRITTEN.search(text)):
        return PermanentFailure(FailureClass.PLATFORM, "input_output", f"{kind}: {text}")
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f" at {Path(frame.filename).name}:{frame.lineno}" for frame in last)
    return PermanentFailure(FailureClass.CODE, "unexpected", f"{kind}{place}")


def read_recipe(path: Path) -> ResolvedRecipe:
    """The resolved recipe. Raises PermanentFailure of class recipe with every wrong field, no value quoted."""
    try:
        return read_file(ResolvedRecipe, path.read_bytes())
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise PermanentFailure(FailureClass.RECIPE, "invalid_recipe", wrong) from error


def require(*paths: Path) -> None:
    """Fail before anything expensive when an input is not there."""
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise PermanentFailure(FailureClass.PLATFORM, "input_missing", f"not found: {', '.join(missing)}")


def work_offline() -> None:
    """What has to be set before heavy imports: they read it."""
    patches.no_hub()
    patches.no_tokenizer_threads()
    patches.brief_mlflow()
    patches.no_compiler()
    patches.no_kernel_warning()
    patches.no_checkpointing_warning()


@contextmanager
def _signals_raise() -> Iterator[None]:
    def stop(signal_number: int, _frame: FrameType | None) -> None:
        raise Interrupted(signal_number)

    watched = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, stop) for number in watched]
    try:
        yield
    finally:
        for number, handler in zip(watched, before, strict=True):
            signal.signal(number, handler)


if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")


def parse_arguments(task: type[T], program: str, documentation: str | None, argv: list[str] | None) -> T:
    """The command line as a `task`, a dataclass whose fields are `str`, `int` or `Path`; a default makes one optional.
    `program`: the module's name; its `documentation` begins with a line that describes it."""
    parser = argparse.ArgumentParser(prog=program, description=(documentation or "").splitlines()[0])
    annotations = get_type_hints(task, include_extras=True)
    for each in fields(task):
        kind, text = get_args(annotations[each.name])
        parser.add_argument(
            f"--{each.name.replace('_', '-')}",
            type=Path if Path in (kind, *get_args(kind)) else int if kind is int else str,
            required=each.default is MISSING,
            default=None if each.default is MISSING else each.default,
            help=text,
        )
    return task(**vars(parser.parse_args(argv)))
