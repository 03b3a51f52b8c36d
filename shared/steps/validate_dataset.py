"""received -> validated or rejected: everything wrong with data and recipe, before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from shared.domain.dataset import CuratedVersion, ProblemGroup, Report, Statistics
from shared.domain.errors import BlobNotFound, FailureClass, PermanentFailure, StoreConflict
from shared.domain.events import DatasetUploaded, ValidationFailed, ValidationPassed
from shared.domain.planning import estimate_cost, resolve
from shared.domain.run import Run, Status, ValidationSummary
from shared.ports import Services
from shared.steps import paths
from shared.steps.blobs import write_model
from shared.steps.outcome import Fact, Outcome
from shared.steps.receive_dataset import RECIPE_NAME, held_out_file
from shared.validation import Sink, Validated, spooled_sink, validate

CHUNK_BYTES = 1024 * 1024


def validate_dataset(event: DatasetUploaded, run: Run, services: Services) -> Outcome:
    if run.dataset.size_bytes > services.config.inline_validation_max_bytes:
        return _rejected(run, _too_large(run, services.config.inline_validation_max_bytes), services)
    with spooled_sink() as sink:
        validated = _validate(run, services, sink)
        if validated.version is None:
            return _rejected(run, validated.report, services)
        curated = _curate(run, validated.version, validated.report, sink, services)
    return _passed(run, validated, curated, services)


def _validate(run: Run, services: Services, sink: Sink) -> Validated:
    """Raises PermanentFailure `dataset_replaced` if the pinned blob is no longer the one received."""
    held_out = held_out_file(run.project, services)
    recipe = services.blobs.info(f"{paths.DATASETS}/{run.project}/{RECIPE_NAME}")
    try:
        return validate(
            services.blobs.read(run.dataset.path, etag=run.dataset.etag),
            services.blobs.read(held_out.path) if held_out else None,
            b"".join(services.blobs.read(recipe.path)) if recipe else None,
            project=run.project,
            file_name=run.dataset.path.rsplit("/", 1)[-1],
            default_base_model=services.config.default_base_model,
            sink=sink,
        )
    except (BlobNotFound, StoreConflict) as error:
        message = "the dropped file was deleted or replaced before it was read; its successor has its own run"
        raise PermanentFailure(FailureClass.DATA, "dataset_replaced", message, run.dataset.path) from error


def _curate(run: Run, version: str, report: Report, sink: Sink, services: Services) -> CuratedVersion:
    """Write the immutable version; the manifest comes last and marks it complete."""
    curated = CuratedVersion(
        project=run.project,
        version=version,
        source=run.dataset,
        train_rows=report.statistics.train_rows,
        eval_rows=report.statistics.eval_rows,
        characters_max=report.statistics.characters_max,
    )
    services.blobs.write(paths.curated(curated, "train.jsonl"), _chunks(sink.train))
    services.blobs.write(paths.curated(curated, "eval.jsonl"), _chunks(sink.eval))
    write_model(services.blobs, paths.curated(curated, "report.json"), report)
    write_model(services.blobs, paths.curated(curated, "manifest.json"), curated)
    return curated


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def _passed(run: Run, validated: Validated, curated: CuratedVersion, services: Services) -> Outcome:
    assert validated.recipe is not None
    statistics = validated.report.statistics
    resolved = resolve(
        validated.recipe,
        run.project,
        train_rows=statistics.train_rows,
        characters_max=statistics.characters_max,
    )
    cost = estimate_cost(
        resolved,
        train_rows=statistics.train_rows,
        eval_rows=statistics.eval_rows,
        characters_mean=statistics.characters_mean,
    )
    write_model(services.blobs, paths.report(run.id), validated.report)
    fact = Fact(
        ValidationPassed,
        version=curated.version,
        train_rows=curated.train_rows,
        eval_rows=curated.eval_rows,
    )
    return Outcome(
        status=Status.VALIDATED,
        changes={
            "validation": summary(validated.report),
            "curated": curated,
            "recipe": resolved,
            "cost": cost,
        },
        facts=(fact,),
    )


def _rejected(run: Run, report: Report, services: Services) -> Outcome:
    write_model(services.blobs, paths.report(run.id), report)
    found = summary(report)
    fact = Fact(ValidationFailed, codes=found.codes, errors=found.errors, report=f"/api/runs/{run.id}/report")
    return Outcome(
        status=Status.REJECTED,
        changes={"validation": found},
        facts=(fact,),
        note=", ".join(found.codes),
    )


def summary(report: Report) -> ValidationSummary:
    errors = [group for group in report.problems if group.severity == "error"]
    return ValidationSummary(
        passed=report.passed,
        errors=sum(group.count for group in errors),
        warnings=sum(group.count for group in report.problems if group.severity != "error"),
        codes=tuple(dict.fromkeys(group.code for group in errors)),
    )


def _too_large(run: Run, limit_bytes: int) -> Report:
    """Larger data is for a validation job, which is not built yet; nothing of it is read here."""
    group = ProblemGroup(
        code="dataset_too_large",
        severity="error",
        count=1,
        file="train",
        rows=(),
        message=f"{run.dataset.size_bytes} bytes; this release validates up to {limit_bytes} bytes",
        fix="drop a smaller file, or raise INLINE_VALIDATION_MAX_BYTES on a host with no time limit",
    )
    return Report(passed=False, format="unknown", problems=(group,), statistics=Statistics(), eval_source="file")
