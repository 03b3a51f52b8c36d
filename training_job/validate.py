"""Validate a dataset that is too large for a function, and write the curated version it makes.

A dataset that passes becomes CURATED/<version>/{train.jsonl,eval.jsonl,report.json,manifest.json}, each file
whole or absent and the manifest last. Writes OUTPUT/outcome.json (ValidationOutcome) and, always, result.json:
a dataset that is rejected is a completed job whose report did not pass. The manifest's source has no etag, for
a job sees files and not blobs: the run holds the pinned one. Exit codes: training_job/job/runtime.py.
"""

import hashlib
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Annotated, BinaryIO
from urllib.parse import unquote

from pydantic import BaseModel

from shared.domain.catalog import offer_option
from shared.domain.dataset import CuratedVersion, DatasetRef, ValidationOutcome
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.upgrades import read_file
from shared.rendering.bundle import files_in, read_kept
from shared.validation.curated import curated_version
from shared.validation.deidentify import NameFinder
from shared.validation.lines import chunks_of
from shared.validation.sink import Sink
from shared.validation.validator import Earlier, Validated, validate
from training_job.job.files import sync, write_json
from training_job.job.runtime import parse_arguments, require, run_job

OUTCOME_FILE = "outcome.json"
CHUNK_BYTES = 2**20
PROGRESS_EVERY_S = 2.0


@dataclass(frozen=True, kw_only=True)
class ValidateArguments:
    """The command line."""

    job_name: Annotated[str, "named in the result"]
    project: Annotated[str, "whose dataset it is, percent-encoded"]
    dataset: Annotated[Path, "file that was dropped"]
    name: Annotated[str, "of that file, percent-encoded; a mount may give it another"]
    sha256: Annotated[str, "of data, held-out file and recipe as received, with commas"]
    default_base_model: Annotated[str, "catalog id, if the recipe names none"]
    held_out: Annotated[Path | None, "the held-out file; without it rows are split off"] = None
    recipe: Annotated[Path | None, "the project's recipe.yaml"] = None
    own_base: Annotated[str | None, "the tenant's own base model: JSON, percent-encoded"] = None
    tokenizer: Annotated[Path | None, "folder of the base model's tokenizer bundle"] = None
    earlier: Annotated[Path | None, "folder of the version that rows are appended to"] = None
    curated: Annotated[Path, "folder of the project's versions"]
    output: Annotated[Path, "folder for outcome and result"]

    def files(self) -> list[Path]:
        """What is streamed."""
        return [path for path in (self.dataset, self.held_out, self.recipe) if path]


def parse(argv: list[str] | None) -> ValidateArguments:
    given = parse_arguments(ValidateArguments, "training_job.validate", __doc__, argv)
    return replace(given, project=unquote(given.project), name=unquote(given.name))


def main(argv: list[str] | None = None) -> int:
    task = parse(argv)
    return run_job(task.job_name, task.output, lambda _metrics: validate_files(task))


def validate_files(task: ValidateArguments) -> None:
    """Check, curate, write the outcome: see the module. Raises PermanentFailure `dataset_replaced`, `input_missing`."""
    require(*task.files(), *(path for path in (task.tokenizer, task.earlier) if path))
    offer_option(task.own_base)
    outcome = task.output / OUTCOME_FILE
    outcome.unlink(missing_ok=True)  # an earlier attempt's
    with _workplace(task) as place, ExitStack() as opened:
        sink = Sink(*(opened.enter_context((place / name).open("w+b")) for name in ("train.jsonl", "eval.jsonl")))
        validated, source = _validated(task, sink, opened)
        found = ValidationOutcome(report=validated.report, sha256=task.sha256, recipe=validated.recipe)
        if validated.version is not None:
            for file in (sink.train, sink.eval):
                file.flush()
            sync(*place.iterdir())
            curated = curated_version(validated, task.project, source)
            _publish(place, task.curated / curated.version, validated, curated)
            found = found.model_copy(update={"curated": curated})
    _write(outcome, found)
    _print_outcome(found)


@contextmanager
def _workplace(task: ValidateArguments) -> Iterator[Path]:
    """A hidden folder beside the versions, named after the job, so its restart clears what a killed one left."""
    place = task.curated / f".{task.job_name}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _validated(task: ValidateArguments, sink: Sink, opened: ExitStack) -> tuple[Validated, DatasetRef]:
    progress = ReadingProgress(sum(path.stat().st_size for path in task.files()))
    files = [Reading(opened.enter_context(path.open("rb")), progress) for path in task.files()]
    dataset, recipe = files[0], files[-1] if task.recipe else None
    validated = validate(
        dataset,
        files[1] if task.held_out else None,
        next(recipe, b"") if recipe else None,
        project=task.project,
        file_name=task.name,
        default_base_model=task.default_base_model,
        sink=sink,
        bundle_of=lambda base: read_kept(files_in(task.tokenizer), base) if task.tokenizer else None,
        earlier=lambda: _earlier(task.earlier) if task.earlier else None,
        names=_names,
    )
    path = f"datasets/{task.project}/{task.name}"
    found = [file.sha256() for file in files]
    progress.print()
    if found != task.sha256.split(","):
        message = "data, recipe or held-out rows were replaced before they were read: `droptune retry` the run"
        raise PermanentFailure(FailureClass.DATA, "dataset_replaced", message, path)
    return validated, DatasetRef(path=path, etag="", size_bytes=dataset.size_bytes, sha256=found[0])


def _names() -> NameFinder | None:
    from training_job.names.engine import load  # spaCy takes seconds, so only where the recipe asks for names

    return load()


def _earlier(folder: Path) -> Earlier:
    manifest = read_file(CuratedVersion, (folder / "manifest.json").read_bytes())
    return Earlier(manifest.version, chain.from_iterable(chunks_of(folder / name) for name in manifest.files_of_rows))


class ReadingProgress:
    """Prints how far the reading is: at most one line in `every_s`, and one at the end."""

    def __init__(self, total_bytes: int, every_s: float = PROGRESS_EVERY_S) -> None:
        self._total, self._read, self._every_s = total_bytes, 0, every_s
        self._since = self._printed = time.monotonic()

    def add(self, count: int) -> None:
        self._read += count
        if time.monotonic() - self._printed >= self._every_s:
            self.print()

    def print(self) -> None:
        self._printed = time.monotonic()
        per_s = self._read / max(self._printed - self._since, 1e-3)
        eta_s = max(0, self._total - self._read) / max(per_s, 1.0)
        print(f"read {self._read}/{self._total} bytes {per_s / 1e6:.1f} MB/s eta {eta_s:.0f} s", flush=True)


class Reading:
    """The chunks of a file, counted and hashed on the way. Not a generator: the validator closes what it reads of a
    file that it gives up, and the hash needs the rest."""

    def __init__(self, file: BinaryIO, progress: ReadingProgress) -> None:
        self._file, self._progress = file, progress
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    def __iter__(self) -> "Reading":
        return self

    def __next__(self) -> bytes:
        chunk = self._file.read(CHUNK_BYTES)
        if not chunk:
            raise StopIteration
        self._digest.update(chunk)
        self.size_bytes += len(chunk)
        self._progress.add(len(chunk))
        return chunk

    def sha256(self) -> str:
        """Of the whole file: what the validator left is read first."""
        for _ in self:
            pass
        return self._digest.hexdigest()


def _publish(place: Path, version: Path, validated: Validated, curated: CuratedVersion) -> None:
    """Move the rows into the version; equal rows give an equal version, so one that exists stays what it is."""
    version.mkdir(exist_ok=True)
    for name in ("train.jsonl", "eval.jsonl"):
        (place / name).replace(version / name)
    _write(version / "report.json", validated.report)
    _write(version / "manifest.json", curated)


def _write(path: Path, document: BaseModel) -> None:
    write_json(path, document.model_dump(mode="json"))


def _print_outcome(found: ValidationOutcome) -> None:
    """Codes and counts; never a row's text."""
    for group in found.report.problems:
        print(f"{group.severity} {group.code} in {group.file}: {group.count}", flush=True)
    rows = found.report.statistics
    verdict = f"version {found.curated.version}" if found.curated else "rejected"
    print(f"{verdict}, {rows.train_rows} training rows, {rows.eval_rows} held out", flush=True)


if __name__ == "__main__":
    sys.exit(main())
