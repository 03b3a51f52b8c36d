"""A dataset is validated where it can be read: small text in the function, the rest in a job."""

from __future__ import annotations

import gzip
from dataclasses import replace

import pytest

from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.events import DatasetUploaded, Event, ValidationRetryDue
from shared.domain.jobs import JobSpec
from shared.ports import Services
from shared.runner import Runner
from shared.step_support.outcome import event_of
from shared.steps.validate_dataset import validate_dataset
from tests.unit.shared.support import ROW, drop
from tests.workbooks import workbook


class Refusing:
    """A platform that takes no job; it keeps what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[JobSpec] = []

    def submit(self, spec: JobSpec) -> None:
        self.asked.append(spec)
        raise PermanentFailure(FailureClass.QUOTA, "no_quota", "none left", spec.name)


WORKBOOK = workbook({"Data": [["prompt", "completion"]]})
FILES = {
    "Parquet": (b"PAR1" + ROW, None, 1),
    "Arrow": (b"ARROW1\0\0" + ROW, None, 1),
    "an Arrow stream": (b"\xff\xff\xff\xff" + ROW, None, 1),
    "a held-out Parquet file": (ROW, b"PAR1" + ROW, 1),
    "a workbook": (WORKBOOK, None, 1),
    "a held-out workbook": (ROW, WORKBOOK, 1),
    "text": (ROW, ROW, 0),
    "a zip": (b"PK\3\4" + ROW, None, 0),
    "a gzip with as much text as the limit": (gzip.compress(b"x" * 20_000_000), None, 0),
    "a gzip with more text than the limit": (gzip.compress(b"x" * 20_000_001), None, 1),
    "a held-out gzip with more": (ROW, gzip.compress(b"x" * 20_000_001), 1),
    "a damaged gzip": (gzip.compress(ROW)[:-9], None, 0),
}


@pytest.mark.parametrize(("train", "held_out", "jobs"), FILES.values(), ids=FILES)
def test_columns_and_much_text_are_validated_by_a_job_whatever_the_size_of_the_file(
    services: Services, runner: Runner, train: bytes, held_out: bytes | None, jobs: int
) -> None:
    if held_out is not None:
        services.blobs.write("datasets/shop/eval.jsonl", [held_out])
    run = drop(services, runner, text=train)
    assert run is not None
    platform = Refusing()
    uploaded = DatasetUploaded(path=run.dataset.path, sha256=run.dataset.sha256, size_bytes=1)
    event: Event[DatasetUploaded | ValidationRetryDue] = event_of(run, uploaded, services.clock.now())
    ports = replace(services, launcher=platform)  # type: ignore[arg-type]
    if jobs:
        with pytest.raises(PermanentFailure, match="none left"):
            validate_dataset(event, run, ports)
    else:
        validate_dataset(event, run, ports)
    assert len(platform.asked) == jobs
