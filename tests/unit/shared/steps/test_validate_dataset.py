"""A dataset is validated where it can be read: small text in the function, the rest in a job."""

from __future__ import annotations

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


class Refusing:
    """A platform that takes no job; it keeps what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[JobSpec] = []

    def submit(self, spec: JobSpec) -> None:
        self.asked.append(spec)
        raise PermanentFailure(FailureClass.QUOTA, "no_quota", "none left", spec.name)


FILES = {
    "Parquet": (b"PAR1" + ROW, None, 1),
    "Arrow": (b"ARROW1\0\0" + ROW, None, 1),
    "an Arrow stream": (b"\xff\xff\xff\xff" + ROW, None, 1),
    "a held-out Parquet file": (ROW, b"PAR1" + ROW, 1),
    "text": (ROW, ROW, 0),
    "a zip": (b"PK\3\4" + ROW, None, 0),
}


@pytest.mark.parametrize(("train", "held_out", "jobs"), FILES.values(), ids=FILES)
def test_a_file_of_columns_is_validated_by_a_job_whatever_its_size(
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
